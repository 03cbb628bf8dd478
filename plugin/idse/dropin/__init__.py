"""Steering encoders of other programs: ffmpeg, GStreamer, OBS, anything that uses libx264.

Between the sidecar (:mod:`idse.server`), which thinks, and the program, into which
``native/preload`` is loaded: what finds or starts the one and runs the other. Commands and hooks
share it.
"""
