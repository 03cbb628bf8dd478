"""libx264 through ctypes: numpy planes and QP offsets in, H.264 packets out.

``load_library`` finds a libx264 (PyAV's, the system's, or the one that ``IDSE_X264_LIBRARY`` names)
and checks that it is laid out as declared; ``Encoder`` encodes with it. Nothing here knows a vision
network, and nothing of libx264 (GPL-2.0-or-later) is contained: it is loaded where it is found.
"""

from idse.codecs.x264.colour import colour_options
from idse.codecs.x264.distortion import Distortion
from idse.codecs.x264.encoder import Encoder
from idse.codecs.x264.library import X264Library, installed_library, load_library
from idse.codecs.x264.params import Parameters
from idse.codecs.x264.stream import Headers, Packet

__all__ = [
    "Distortion",
    "Encoder",
    "Headers",
    "Packet",
    "Parameters",
    "X264Library",
    "colour_options",
    "installed_library",
    "load_library",
]
