"""A torch network as the codec's transforms: arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from idse.learned.vae.networks import HyperpriorVae

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from idse.learned.vae.networks import FactorisedVae


def reach(transform: nn.Module) -> float:
    """Return how far around its place a transform's output depends on the input, in inputs."""
    total, jump = 0.0, 1.0
    for module in transform.modules():
        if isinstance(module, nn.ConvTranspose2d):
            stride = module.stride[0]
            total += -(-(module.kernel_size[0] // 2) // stride) * jump
            jump /= stride
        elif isinstance(module, nn.Conv2d):
            total += (module.kernel_size[0] // 2) * jump
            jump *= module.stride[0]
    return total


def _halo(transform: nn.Module, unit: int) -> int:
    return -int(-reach(transform) // unit) * unit


class TorchTransforms:
    """What `idse.codecs.vae.Transforms` asks for.

    Parameters
    ----------
    vae
        Trained; is changed (moved, laid out for speed).
    device
        Where it runs.
    """

    def __init__(self, vae: FactorisedVae | HyperpriorVae, device: torch.device) -> None:
        self._device = device
        self._vae = vae.to(device).eval().requires_grad_(requires_grad=False)
        self.stride = vae.stride
        self.analysis_halo = _halo(vae.analysis, vae.stride)
        self.synthesis_halo = _halo(vae.synthesis, 1)
        ratio = vae.unit // vae.stride
        self.hyper_halo = 0
        if isinstance(vae, HyperpriorVae):
            self.hyper_halo = _halo(vae.hyper_analysis, ratio)

    def _run(self, function: nn.Module, x: torch.Tensor) -> torch.Tensor:
        # Channels last: CPUs convolve these shapes twice as fast that way.
        with torch.inference_mode():
            y: torch.Tensor = function(x[None].contiguous(memory_format=torch.channels_last))[0]
        return y

    def analyse(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return latents ``(latents, h / stride, w / stride)`` of R'G'B' ``(3, h, w)``."""
        x = torch.from_numpy(pixels).to(self._device).float().div_(255).sub_(self._vae.offset)
        return self._run(self._vae.analysis, x).cpu().numpy()

    def hyper_analyse(self, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return hyper latents ``(hyper latents, h / 4, w / 4)`` of ``(latents, h, w)``."""
        if not isinstance(self._vae, HyperpriorVae):
            raise TypeError("a factorised model has no hyper latents")
        x = torch.from_numpy(latents).to(self._device)
        return self._run(self._vae.hyper_analysis, x).cpu().numpy()

    def synthesise(self, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Return R'G'B' ``(3, h stride, w stride)`` of ``(latents, h, w)``."""
        y = self._run(self._vae.synthesis, torch.from_numpy(latents).to(self._device))
        with torch.inference_mode():
            y = y.add_(self._vae.offset).mul_(255).round_().clamp_(0, 255)
            return y.to(torch.uint8).cpu().numpy()
