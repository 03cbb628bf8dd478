"""libjpeg-turbo through a C shim: arrays in, bytes out."""

from idse.codecs.jpeg.layout import JpegLayout
from idse.codecs.jpeg.markers import Marker, exif_marker, icc_markers
from idse.codecs.jpeg.quantise import Quantised, Quantiser, mix
from idse.codecs.jpeg.reading import MAX_PIXELS, JpegFile, decode, library_version, read
from idse.codecs.jpeg.scans import best_scans
from idse.codecs.jpeg.script import Scan, simple_script
from idse.codecs.jpeg.tables import standard_table
from idse.codecs.jpeg.transform import Transformed, transform, transform_with_samples
from idse.codecs.jpeg.writing import SIMPLE, encode, write

__all__ = [
    "MAX_PIXELS",
    "SIMPLE",
    "JpegFile",
    "JpegLayout",
    "Marker",
    "Quantised",
    "Quantiser",
    "Scan",
    "Transformed",
    "best_scans",
    "decode",
    "encode",
    "exif_marker",
    "icc_markers",
    "library_version",
    "mix",
    "read",
    "simple_script",
    "standard_table",
    "transform",
    "transform_with_samples",
    "write",
]
