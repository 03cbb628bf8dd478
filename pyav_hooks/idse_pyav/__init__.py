"""Steers the libx264 encoders of programs that use PyAV, which stay as they are.

>>> import idse_pyav
>>> idse_pyav.install(model="yolov4-tiny")  # doctest: +SKIP

How, and why so
---------------
PyAV's libavcodec takes five functions from its libx264: ``x264_encoder_open_NNN``, ``_encode``,
``_close``, ``_delayed_frames`` and ``_maximum_delayed_frames``. `install` points its five entries
for them at ``native/preload``, the same code that `idse ffmpeg` preloads, and `uninstall` points
them back. The other way would have been regions of interest in frames' side data. Both were tried
on PyAV 14.2, 16.1 and 18.1 (the entries on 15.1 and 17.1, too; libx264 builds 164 and 165):

- **Exact** are both: QPs read back from the bitstream are those asked for, in every macroblock that
  carries one, also where PyAV itself converts an RGB frame. But libavcodec ignores regions where
  adaptive quantisation is off and in interlaced pictures, and clips them at +-51.
- **Unchanged programs.** Side data needs somebody to call us for every frame; until PyAV 16
  ``encode`` belongs to types that cannot be given another one. The entries need nobody.
- **Waiting.** Offsets depend on later pictures. The encoder may hold pictures back, because it says
  itself how many it delays; side data has to be there when the frame is handed in.
- **The picture that is encoded** is what networks see: after PyAV's own conversion and scaling.
- **Time.** Regions took 3 to 6 ms for each frame of 256x192, most of it to find the AVFrame safely.
- **Nothing when there is nothing to do.** Without offsets, the stream is stock's byte for byte.

Safe, because nothing is changed unless everything is as known: the major version of PyAV, every
entry bound to what its own libx264 exports, that library's structures as laid out in
``native/preload/layout.c``. Which encoder a stream opens is told by its AVCodecContext, which
libavcodec gives x264 for its log lines.
"""

from idse_pyav._control import Installed, Report, install, leave, report, steer, uninstall
from idse_pyav._encoder import Encoder

__all__ = ["Encoder", "Installed", "Report", "install", "leave", "report", "steer", "uninstall"]
