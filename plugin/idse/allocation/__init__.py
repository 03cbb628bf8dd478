"""Importance and rate -> QP offsets per macroblock."""

from idse.allocation.allocator import Allocator
from idse.allocation.policy import OffsetPolicy, Rect
from idse.allocation.rate import estimate_bits

__all__ = ["Allocator", "OffsetPolicy", "Rect", "estimate_bits"]
