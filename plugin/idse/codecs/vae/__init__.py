"""A learned picture codec: container, entropy coding, tiling, exact rate.

It is handed its network (`Network`); `idse.learned.vae.model` loads one.
"""

from idse.codecs.vae.codec import Encoded, decode, encode
from idse.codecs.vae.container import MAX_BYTES, MAX_PIXELS, Header, read_header
from idse.codecs.vae.integers import IntegerLayer, IntegerNetwork
from idse.codecs.vae.network import Network, Transforms
from idse.codecs.vae.prior import Prior
from idse.codecs.vae.tables import EntropyTables

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "Encoded",
    "EntropyTables",
    "Header",
    "IntegerLayer",
    "IntegerNetwork",
    "Network",
    "Prior",
    "Transforms",
    "decode",
    "encode",
    "read_header",
]
