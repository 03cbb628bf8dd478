"""libjpeg-turbo through a C shim: arrays in, bytes out."""

from idse.codecs.jpeg.layout import JpegLayout
from idse.codecs.jpeg.markers import Marker, exif_marker, icc_markers
from idse.codecs.jpeg.reading import MAX_PIXELS, JpegFile, decode, library_version, read
from idse.codecs.jpeg.script import Scan, simple_script
from idse.codecs.jpeg.tables import standard_table
from idse.codecs.jpeg.writing import SIMPLE, encode, write

__all__ = [
    "MAX_PIXELS",
    "SIMPLE",
    "JpegFile",
    "JpegLayout",
    "Marker",
    "Scan",
    "decode",
    "encode",
    "exif_marker",
    "icc_markers",
    "library_version",
    "read",
    "simple_script",
    "standard_table",
    "write",
]
