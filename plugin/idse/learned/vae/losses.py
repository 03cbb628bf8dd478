"""What training minimises: distortions, and the rate terms that are set against them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from idse.vision.colour import code_to_rgb

if TYPE_CHECKING:
    from torch import Tensor

PEAK = 255.0


def squared_error(pictures: Tensor, decoded: Tensor) -> Tensor:
    """Return the mean squared error of every picture in code values, ``(B,)``.

    Parameters
    ----------
    pictures, decoded
        ``(B, 3, H, W)`` R'G'B' in [0, 1].
    """
    return (PEAK * (pictures - decoded)).square().flatten(1).mean(1)


def weighted_error(pictures: Tensor, decoded: Tensor, weights: Tensor) -> Tensor:
    """Return the diagonal of IDSE + tau SSE, per sample, ``(B,)`` (IDSE paper, equation 18).

    Parameters
    ----------
    pictures, decoded
        ``(B, 3, H, W)`` R'G'B' in [0, 1].
    weights
        ``(B, 3, H, W)`` for Y', Cb, Cr: what a network's sketched Jacobian gives the block, plus
        tau; 1 on average, so that rates stay near those of the squared error.
    """
    to_rgb, _ = code_to_rgb("bt601", 8, full_range=True)
    error = pictures - decoded
    planes: Tensor = torch.linalg.inv(error.new_tensor(to_rgb)) @ error.flatten(2)
    planes = planes.reshape(error.shape)
    weighted: Tensor = weights * planes.square()
    return weighted.flatten(1).mean(1)


def rate_distortion(rate: Tensor, distortion: Tensor, step: Tensor, *, multiplier: float) -> Tensor:
    """Return ``step (R + multiplier / step^2 D)``, the mean over the batch (thesis, equation 4.10).

    A uniform quantiser's squared error grows with the square of its step, and the slope of its
    rate-distortion curve with it: so lambda falls as ``1 / step^2``, and each step is trained for
    the rates where it is the right one. The factor in front gives all of them a like say: without
    it the rate of the finest would drown the others.

    Parameters
    ----------
    rate
        ``(B,)`` bits per picture sample.
    distortion
        ``(B,)``, mean squared error in code values.
    step
        ``(B,)``, above 0.
    multiplier
        Lambda at step 1.
    """
    return (step * rate + multiplier / step * distortion).mean()


def target_rate(rate: Tensor, distortion: Tensor, *, parameter: float, beta: float) -> Tensor:
    """Return ``D + beta ((R_param - R) / R_param)^2`` (thesis, 5.14, 6.8, 6.20), batch mean.

    The deviation is that of each picture, not of the batch: its square then holds down the
    variance over pictures, which is what beta is for.

    Parameters
    ----------
    rate
        ``(B,)`` bits per picture sample.
    distortion
        ``(B,)``, mean squared error in code values.
    parameter
        R_param, above 0; a constant to the gradient (section 6.2.4).
    beta
        What the relative deviation costs, at least 0.
    """
    deviation = (parameter - rate) / parameter
    return (distortion + beta * deviation.square()).mean()
