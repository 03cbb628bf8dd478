"""Steers the libx264 encoders of programs that use PyAV, which stay as they are.

>>> import idse_pyav
>>> idse_pyav.install(model="yolov4-tiny")  # doctest: +SKIP

How, and why so
---------------
PyAV's libavcodec takes five functions from its libx264: ``x264_encoder_open_NNN``, ``_encode``,
``_close``, ``_delayed_frames`` and ``_maximum_delayed_frames``. `install` points its five entries
for them at ``native/preload``, the same code that `idse ffmpeg` preloads, and `uninstall` points
them back. The other way would have been regions of interest in frames' side data. What decided:

- **Exact.** QPs read back from the bitstream are those asked for, in every macroblock that carries
  one (PyAV 14.2, 15.1, 16.1, 17.1, 18.1; libx264 builds 164 and 165). libavcodec clips
  regions to +-51 QP, takes the first that covers a macroblock, and ignores all of them where
  adaptive quantisation is off (and mbtree on) and in interlaced pictures.
- **Unchanged programs.** PyAV's ``encode`` belongs to compiled types, which cannot be given another
  one: side data needs somebody to call us for every frame. The entries need nobody.
- **Whole.** Pictures can be held back for the sidecar's lookahead, as the encoder says itself how
  many it delays. Side data has to be there when the frame is handed in.
- **The picture that is encoded.** It is seen after PyAV's own reformatting, scaling and padding.
- **Nothing when there is nothing to do.** Without offsets, the stream is stock's byte for byte.

Safe, because nothing is changed unless everything is as known: the major version of PyAV, every
entry bound to what its own libx264 exports, that library's structures as laid out in
``native/preload/layout.c``. Which encoder a stream opens is told by its AVCodecContext, which
libavcodec gives x264 for its log lines.
"""

from idse_pyav._control import Installed, Report, install, leave, report, steer, uninstall
from idse_pyav._encoder import Encoder

__all__ = ["Encoder", "Installed", "Report", "install", "leave", "report", "steer", "uninstall"]
