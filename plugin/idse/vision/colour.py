"""Y'CbCr code values to the R'G'B' that networks are trained on, as differentiable torch code.

Matrices and ranges follow ITU-T H.273, PQ and HLG follow ITU-R BT.2100-2.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from idse.picture import PictureFormat

# Luma coefficients (K_R, K_B), H.273 table 4.
_LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}

# Linear light, BT.2020 to BT.709 primaries, both D65 (ITU-R BT.2087-0, table 4).
_GAMUT_2020_TO_709 = (
    (1.6605, -0.5876, -0.0728),
    (-0.1246, 1.1329, -0.0083),
    (-0.0182, -0.1006, 1.1187),
)

# Luminance of diffuse white in PQ and HLG programmes, cd/m^2 (ITU-R BT.2408, section 2.1).
REFERENCE_WHITE = 203.0
# Tone curve: linear up to the knee, then an exponential shoulder that reaches 1 at infinity.
_KNEE = 0.5


@lru_cache(maxsize=32)
def code_to_rgb(
    matrix: str, bit_depth: int, *, full_range: bool
) -> tuple[tuple[tuple[float, float, float], ...], tuple[float, float, float]]:
    """Return ``(M, b)`` such that ``R'G'B' = M @ (Y, Cb, Cr) + b`` for code values.

    R'G'B' is nominally 0..1. Values outside (colours that Y'CbCr can code and RGB cannot) are not
    clipped anywhere in this package, so that the map stays affine.
    """
    k_r, k_b = _LUMA[matrix]
    k_g = 1 - k_r - k_b
    unit = 2 ** (bit_depth - 8)
    if full_range:
        luma_zero, luma_scale = 0.0, 1 / (2**bit_depth - 1)
        chroma_scale = 1 / (2**bit_depth - 1)
    else:
        luma_zero, luma_scale = 16.0 * unit, 1 / (219 * unit)
        chroma_scale = 1 / (224 * unit)
    y, c = luma_scale, chroma_scale
    rows = (
        (y, 0.0, 2 * (1 - k_r) * c),
        (y, -2 * (1 - k_b) * k_b / k_g * c, -2 * (1 - k_r) * k_r / k_g * c),
        (y, 2 * (1 - k_b) * c, 0.0),
    )
    chroma_zero = 128.0 * unit
    bias = (
        -rows[0][0] * luma_zero - (rows[0][1] + rows[0][2]) * chroma_zero,
        -rows[1][0] * luma_zero - (rows[1][1] + rows[1][2]) * chroma_zero,
        -rows[2][0] * luma_zero - (rows[2][1] + rows[2][2]) * chroma_zero,
    )
    return rows, bias


def _mix(x: Tensor, rows: tuple[tuple[float, ...], ...]) -> Tensor:
    """Apply a 3x3 matrix to the channels of ``x`` (n, 3, h, w)."""
    matrix = torch.tensor(rows, dtype=x.dtype, device=x.device)
    return (matrix @ x.flatten(2)).reshape(x.shape)


def planes_to_rgb(ycbcr: Tensor, fmt: PictureFormat) -> Tensor:
    """Convert code values at the network's resolution to gamma-coded BT.709 R'G'B', about 0..1.

    Parameters
    ----------
    ycbcr
        ``(n, 3, h, w)``, floating point, code values of ``fmt``'s depth and range.
    fmt
        SDR pictures go through their matrix only (SDR with BT.2020 primaries stays in them, as
        ordinary players show it). PQ and HLG go on to :func:`hdr_to_sdr`.
    """
    rows, bias = code_to_rgb(fmt.matrix, fmt.bit_depth, full_range=fmt.full_range)
    offset = torch.tensor(bias, dtype=ycbcr.dtype, device=ycbcr.device)[:, None, None]
    rgb = _mix(ycbcr, rows) + offset
    return rgb if fmt.transfer == "sdr" else hdr_to_sdr(rgb, fmt.transfer)


def hdr_to_sdr(rgb: Tensor, transfer: str) -> Tensor:
    """Convert PQ or HLG R'G'B' with BT.2020 primaries to SDR R'G'B' with BT.709 primaries.

    Signal to display light (PQ: the EOTF of ST 2084; HLG: the inverse OETF of ARIB STD-B67 and the
    OOTF of a 1000 cd/m^2 display, gamma 1.2), divided by 203 cd/m^2, to BT.709 primaries, then
    per channel a tone curve ``t(x) = x`` up to 0.5 and ``1 - 0.5 exp(1 - 2 x)`` above (its slope
    is continuous, diffuse white lands at 0.82), then the sRGB curve, whose linear foot continues
    below zero so that colours outside BT.709 keep a gradient.

    Parameters
    ----------
    rgb
        ``(n, 3, h, w)``, nominally 0..1. Signals outside are clipped, and have no gradient there.
    transfer
        ``"pq"`` or ``"hlg"``.
    """
    light = (_pq_light(rgb) if transfer == "pq" else _hlg_light(rgb)) / REFERENCE_WHITE
    light = _mix(light, _GAMUT_2020_TO_709)
    shoulder = 1 - (1 - _KNEE) * torch.exp((_KNEE - light.clamp_min(_KNEE)) / (1 - _KNEE))
    return _srgb(torch.where(light > _KNEE, shoulder, light))


def _pq_light(signal: Tensor) -> Tensor:
    """EOTF of SMPTE ST 2084 (BT.2100-2 table 4): signal 0..1 to cd/m^2."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    # Below 7.3e-7 the curve is zero; the lower bound only keeps the root's slope finite.
    root = signal.clamp(1e-7, 1.0) ** (1 / m2)
    ratio = (root - c1).clamp_min(0) / (c2 - c3 * root)
    return 10000.0 * ratio ** (1 / m1)


def _hlg_light(signal: Tensor) -> Tensor:
    """Inverse OETF and OOTF of HLG (BT.2100-2 table 5) for a display of 1000 cd/m^2."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * math.log(4 * a)
    signal = signal.clamp(0.0, 1.0)
    high = (torch.exp((signal.clamp_min(0.5) - c) / a) + b) / 12
    scene = torch.where(signal > 0.5, high, signal**2 / 3)
    k_r, k_b = _LUMA["bt2020nc"]
    luminance = (
        k_r * scene[:, 0:1] + (1 - k_r - k_b) * scene[:, 1:2] + k_b * scene[:, 2:3]
    ).clamp_min(1e-6)
    return 1000.0 * scene * luminance**0.2


def _srgb(light: Tensor) -> Tensor:
    """Encode linear light with the sRGB curve (IEC 61966-2-1), continued linearly below zero."""
    foot = 0.0031308
    power = 1.055 * light.clamp_min(foot) ** (1 / 2.4) - 0.055
    return torch.where(light > foot, power, 12.92 * light)
