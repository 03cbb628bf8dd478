"""H.264 streams read back: the QP of every macroblock, from the bitstream itself."""

from idse.codecs.h264.reader import FrameMacroblocks, read_macroblocks

__all__ = ["FrameMacroblocks", "read_macroblocks"]
