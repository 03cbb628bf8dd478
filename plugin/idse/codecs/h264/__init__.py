"""H.264 streams read back: the QP of every macroblock, from the bitstream itself."""

from idse.codecs.h264.parser import FrameMacroblocks
from idse.codecs.h264.reader import read_macroblocks

__all__ = ["FrameMacroblocks", "read_macroblocks"]
