"""The sidecar: networks in a process of their own, for encoders that stay light, and its client.

Encoders (:mod:`idse.server.encoders`) hand over pictures in shared memory and get QP offsets back;
whoever speaks the KServe v2 protocol (:mod:`idse.server.app`) gets importance maps and sketches,
and pictures of the learned codec.
Both share one queue of analyses (:mod:`idse.server.queue`). Importing this needs nothing beyond the
core; serving needs the extra ``server``.
"""
