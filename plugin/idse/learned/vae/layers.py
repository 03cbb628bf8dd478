"""Layers of the transforms: generalised divisive normalisation, strided and residual layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# J. Balle, "Efficient nonlinear transforms for lossy image compression", PCS 2018: parameters are
# kept as sqrt(value + pedestal), so that gradients near zero stay small and values never negative.
_PEDESTAL = 2.0**-36
_BETA_MIN = 1e-6


class _LowerBound(torch.autograd.Function):
    """max(x, bound) whose gradient still lets values below the bound rise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:  # noqa: ANN401 - torch's context
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """Return ``max(x, bound)``, with the gradient of x wherever it would raise what is below."""
    bounded: Tensor = _LowerBound.apply(x, bound)  # type: ignore[no-untyped-call]
    return bounded


class _Normalise(torch.autograd.Function):
    """GDN or IGDN in as few passes over memory as there can be: they are what its time goes to.

    Rows are places, columns channels: of ``(B, C, H, W)`` in channels-last order a view.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, inverse: bool) -> Tensor:  # noqa: ANN401, FBT001
        root = torch.addmm(beta, x * x, gamma.T)
        root = root.sqrt_() if inverse else root.rsqrt_()
        ctx.save_for_backward(x, gamma, root)
        ctx.inverse = inverse
        return x * root

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN401
        x, gamma, root = ctx.saved_tensors
        through = gradient * x
        if ctx.inverse:
            through.div_(root).mul_(0.5)
        else:
            through.mul_(root).mul_(root).mul_(root).mul_(-0.5)
        to_gamma = through.T @ (x * x)
        to_x = (through @ gamma).mul_(x).mul_(2).addcmul_(gradient, root)
        return to_x, to_gamma, through.sum(0), None


class GDN(nn.Module):
    """Generalised divisive normalisation (thesis, equation 2.25), or its inverse.

    ``y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2)``; the inverse form multiplies instead, which
    is one step of the fixed-point iteration (2.27) with parameters of its own.

    Parameters
    ----------
    channels
        Of input and output, float ``(B, channels, H, W)``.
    inverse
        IGDN instead of GDN.
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_root = nn.Parameter(torch.full((channels,), (1.0 + _PEDESTAL) ** 0.5))
        self.gamma_root = nn.Parameter((0.1 * torch.eye(channels) + _PEDESTAL).sqrt())

    @property
    def beta(self) -> Tensor:
        """``(channels,)``, at least 1e-6."""
        root: Tensor = lower_bound(self.beta_root, (_BETA_MIN + _PEDESTAL) ** 0.5)
        return root.square() - _PEDESTAL

    @property
    def gamma(self) -> Tensor:
        """``(channels, channels)``, at least 0: row i normalises channel i."""
        root: Tensor = lower_bound(self.gamma_root, _PEDESTAL**0.5)
        return root.square() - _PEDESTAL

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, channels, H, W)``."""
        places = x.permute(0, 2, 3, 1)
        rows = places.reshape(-1, places.shape[-1])
        done: Tensor = _Normalise.apply(rows, self.gamma, self.beta, self.inverse)  # type: ignore[no-untyped-call]
        return done.reshape(places.shape).permute(0, 3, 1, 2)


class ResidualLayer(nn.Module):
    """Two convolutions around which the input is added (thesis, figure 5.14).

    Parameters
    ----------
    channels
        Of input and output, float ``(B, channels, H, W)``.
    last
        Leave out the ReLU after the sum: the layer that ends a transform is linear.
    """

    def __init__(self, channels: int, *, last: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, channels, H, W)``."""
        x = x + self.second(functional.relu(self.first(x)))
        return x if self.last else functional.relu(x)


def down(inputs: int, outputs: int, kernel: int = 5) -> nn.Conv2d:
    """Return a convolution that halves both sides (which are even)."""
    return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2)


def up(inputs: int, outputs: int, kernel: int = 5) -> nn.ConvTranspose2d:
    """Return a transposed convolution that doubles both sides."""
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=kernel // 2, output_padding=1
    )
