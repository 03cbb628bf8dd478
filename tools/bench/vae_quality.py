"""How near a decoded picture is to its source, as every table of the learned codec has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idse.evaluation.metrics import ms_ssim, psnr, ssim
from idse.evaluation.pixels import jfif_picture

if TYPE_CHECKING:
    from idse.evaluation.pixels import RGB


def quality(pixels: RGB, decoded: RGB) -> dict[str, float]:
    """Return PSNR over R'G'B' in dB, SSIM and MS-SSIM of luma as JPEG has it."""
    luma = tuple(jfif_picture(item, 0).planes[0] for item in (pixels, decoded))
    rows = pixels.reshape(-1, 3), decoded.reshape(-1, 3)
    return {"psnr": psnr(*rows), "ssim": ssim(*luma), "ms_ssim": ms_ssim(*luma)}
