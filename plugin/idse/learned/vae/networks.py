"""The two codecs: factorised prior (thesis, table 4.1) and mean-scale hyperprior (table 4.2).

Pictures are float ``(B, 3, H, W)``, R'G'B' scaled to [0, 1], both sides multiples of ``unit`` (see
`pad`). Latents are y; each feature map c is quantised with its own step
``Delta_c = step * base_c``: one continuous ``step`` (1 is where a model was made for; larger is
coarser) sets the rate at test time, as in "Autoencoder based image compression: can the learning
be quantization independent?".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from idse.errors import InputError
from idse.learned.vae.layers import GDN, ResidualLayer, down, lower_bound, up
from idse.learned.vae.prior import MIN_LIKELIHOOD, FactorisedPrior

Architecture = Literal["factorised", "hyperprior"]
Transform = Literal["gdn", "residual"]
Quantiser = Literal["noise", "straight-through", "mixed", "round"]

# Of a Gaussian's scale in quantisation steps: below it, a cell around the mean has it all.
MIN_SCALE = 0.11
# Activations start with a standard deviation of order 1. So that latents span several steps:
_LOG2_START = -4.0
_HYPER_START = 8.0
# Of scales: what h_s may return before it is trained must not overflow.
_MAX_LOG2 = 20.0


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """What a codec is built from.

    Attributes
    ----------
    architecture
        ``"factorised"``: three stages, latents at 1/8, one density per feature map.
        ``"hyperprior"``: four stages, latents at 1/16, Gaussians from hyper latents at 1/64.
    transform
        ``"gdn"``, or ``"residual"`` layers in their place (section 5.5.7).
    width
        Channels inside the transforms; 256 in the thesis.
    latents
        Feature maps of y; 256 in the thesis.
    learned_steps
        Whether ``base_c`` is learned (second paper) or stays 1/16 for all.
    """

    architecture: Architecture = "hyperprior"
    transform: Transform = "gdn"
    width: int = 64
    latents: int = 96
    learned_steps: bool = True

    def __post_init__(self) -> None:
        if self.architecture not in ("factorised", "hyperprior"):
            raise InputError(f"architecture {self.architecture!r}: use factorised or hyperprior")
        if self.transform not in ("gdn", "residual"):
            raise InputError(f"transform {self.transform!r}: use gdn or residual")
        if self.width < 1 or self.latents < 1:
            raise InputError(f"width {self.width}, latents {self.latents}: both must be above 0")


class Coded(NamedTuple):
    """What a network makes of pictures.

    Attributes
    ----------
    decoded
        ``(B, 3, H, W)``, not clipped to [0, 1].
    bits
        ``(B,)``: what each picture would take, by the model's own probabilities.
    rounded_bits
        ``(B,)``: the same of the rounded latents, without gradient (thesis, equation 6.2).
    """

    decoded: Tensor
    bits: Tensor
    rounded_bits: Tensor


def _stage(config: VaeConfig, layer: nn.Module, *, inverse: bool, last: bool) -> list[nn.Module]:
    outputs = layer.out_channels
    assert isinstance(outputs, int)
    if config.transform == "residual":
        return [layer, ResidualLayer(outputs, last=last)]
    return [layer] if last else [layer, GDN(outputs, inverse=inverse)]


def analysis_transform(config: VaeConfig) -> nn.Sequential:
    """Return g_a: ``(B, 3, H, W)`` to latents ``(B, latents, H/s, W/s)``, s 8 or 16."""
    kernels = (9, 5, 5) if config.architecture == "factorised" else (5, 5, 5, 5)
    layers: list[nn.Module] = []
    for index, kernel in enumerate(kernels):
        last = index == len(kernels) - 1
        inputs = config.width if index else 3
        layer = down(inputs, config.latents if last else config.width, kernel)
        layers += _stage(config, layer, inverse=False, last=last)
    return nn.Sequential(*layers)


def synthesis_transform(config: VaeConfig) -> nn.Sequential:
    """Return g_s: latents ``(B, latents, H/s, W/s)`` to ``(B, 3, H, W)``."""
    kernels = (5, 5, 9) if config.architecture == "factorised" else (5, 5, 5, 5)
    layers: list[nn.Module] = []
    for index, kernel in enumerate(kernels):
        last = index == len(kernels) - 1
        layer = up(config.width if index else config.latents, 3 if last else config.width, kernel)
        layers += _stage(config, layer, inverse=True, last=last)
    return nn.Sequential(*layers)


class Vae(nn.Module):
    """What both codecs share: transforms and quantisation steps.

    Attributes
    ----------
    analysis, synthesis
        g_a and g_s. They see pictures minus `offset`, and latents as they are.
    log2_base
        ``(latents,)``: binary logarithms of base_c.
    stride, unit
        Samples per latent, and what both sides of a picture must be multiples of.
    """

    stride: int
    unit: int
    offset = 0.5

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = analysis_transform(config)
        self.synthesis = synthesis_transform(config)
        self.log2_base = nn.Parameter(
            torch.full((config.latents,), _LOG2_START), requires_grad=config.learned_steps
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                _initialise(module)

    def steps(self, step: Tensor | float) -> Tensor:
        """Return Delta_c = step * base_c: ``(latents,)``, or ``(B, latents)`` for B steps."""
        base = torch.exp2(self.log2_base)
        return step[:, None] * base if isinstance(step, Tensor) else step * base

    def analyse(self, pictures: Tensor) -> Tensor:
        """Return y of pictures ``(B, 3, H, W)`` in [0, 1]."""
        y: Tensor = self.analysis(pictures - self.offset)
        return y

    def synthesise(self, latents: Tensor) -> Tensor:
        """Return pictures ``(B, 3, H, W)`` from dequantised latents; not clipped."""
        pictures: Tensor = self.synthesis(latents) + self.offset
        return pictures

    def quantise(
        self,
        latents: Tensor,
        step: Tensor | float,
        *,
        quantiser: Quantiser,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the bits of latents of `analyse`, ``(B,)``, and what a decoder would have of them.

        The other parameters are those of `code`.
        """
        raise NotImplementedError

    def rounded_bits(self, latents: Tensor, step: Tensor | float) -> Tensor:
        """Return what latents of `analyse` take at a step, ``(B,)``: equation 6.2."""
        return self.quantise(latents, step, quantiser="round")[0]

    def code(
        self,
        pictures: Tensor,
        step: Tensor | float = 1.0,
        *,
        quantiser: Quantiser = "round",
        generator: torch.Generator | None = None,
    ) -> Coded:
        """Run the whole codec but for the bitstream.

        Parameters
        ----------
        pictures
            ``(B, 3, H, W)`` in [0, 1], sides multiples of `unit`.
        step
            Of quantisation, above 0: one for all, or ``(B,)``.
        quantiser
            ``"noise"``: additive uniform noise for rate and distortion (thesis, section 4.3);
            ``"straight-through"``: rounding for both, whose gradient is taken for 1 (5.5.6);
            ``"mixed"``: noise for the rate, rounding for the distortion; ``"round"``: rounding
            without a gradient, what a decoder sees.
        generator
            Of the noise, on the CPU whatever the device, so that runs repeat there and on a GPU.

        Returns
        -------
        Coded
        """
        y = self.analyse(pictures)
        bits, y_hat = self.quantise(y, step, quantiser=quantiser, generator=generator)
        with torch.no_grad():
            rounded = self.rounded_bits(y, step)
        return Coded(self.synthesise(y_hat), bits, rounded)


def _initialise(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Keep variances through a layer: short runs have no time to find the scale by themselves."""
    fan = float(layer.in_channels * math.prod(layer.kernel_size))
    if isinstance(layer, nn.ConvTranspose2d):
        fan /= math.prod(layer.stride)
    nn.init.normal_(layer.weight, std=fan**-0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def round_through(x: Tensor) -> Tensor:
    """Round to the nearest whole number (halves to even), with a gradient of 1."""
    return x + (x.round() - x).detach()


def _noise(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return uniform noise in [-1/2, 1/2)."""
    drawn = torch.rand(like.shape, generator=generator, dtype=like.dtype)
    return drawn.to(like.device) - 0.5


def _proxies(
    x: Tensor, quantiser: Quantiser, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return what stands for the rounded ``x`` in the rate and in the distortion."""
    if quantiser == "noise":
        noisy = x + _noise(x, generator)
        return noisy, noisy
    if quantiser == "mixed":
        return x + _noise(x, generator), round_through(x)
    rounded = round_through(x) if quantiser == "straight-through" else x.round()
    return rounded, rounded


def bits_of(likelihood: Tensor) -> Tensor:
    """Return the information of ``(B, ...)`` probabilities in bits, ``(B,)``."""
    return -likelihood.log2().flatten(1).sum(1)


def scales_in_steps(log2_scale: Tensor, delta: Tensor) -> Tensor:
    """Return standard deviations in steps ``delta`` from what h_s says of them."""
    return torch.exp2(log2_scale.clamp(max=_MAX_LOG2)) / delta


def gaussian_cells(values: Tensor, scales: Tensor) -> Tensor:
    """Return the probability of whole numbers under zero-mean Gaussians (thesis, equation 4.27).

    Parameters
    ----------
    values
        Middles of cells of width 1.
    scales
        Standard deviations in steps, raised to 0.11.
    """
    scales = lower_bound(scales, MIN_SCALE)
    far = values.abs()
    upper = torch.special.ndtr((0.5 - far) / scales)
    lower = torch.special.ndtr((-0.5 - far) / scales)
    return lower_bound(upper - lower, MIN_LIKELIHOOD)


class FactorisedVae(Vae):
    """Non-parametric codec: every feature map has one learned density (thesis, 4.2.3)."""

    stride = 8
    unit = 8

    def __init__(self, config: VaeConfig) -> None:
        super().__init__(config)
        self.prior = FactorisedPrior(config.latents, spread=2.0)

    def quantise(
        self,
        latents: Tensor,
        step: Tensor | float,
        *,
        quantiser: Quantiser,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `Vae.quantise`; v = round(y / Delta_c)."""
        cells = self.steps(step).reshape(-1, self.config.latents, 1, 1)
        rate, distortion = _proxies(latents / cells, quantiser, generator)
        return bits_of(self.prior.likelihood(rate * cells, cells)), distortion * cells


class HyperpriorVae(Vae):
    """Parametric codec: Gaussians whose mean and scale hyper latents predict (thesis, 4.2.4).

    Hyper latents z ``(B, width, H/64, W/64)`` are rounded at step 1 whatever ``step`` is. h_s
    turns them into mean and binary logarithm of the scale of every latent, both in units of y, with
    convolutions, transposed convolutions and ReLU only, so that whole-number arithmetic can do it
    exactly. What is coded is ``v = round((y - mean) / Delta_c)`` under a zero-mean Gaussian of
    scale ``2^log2_scale / Delta_c`` (at least 0.11), and ``y_hat = mean + v Delta_c``.

    Attributes
    ----------
    hyper_analysis, hyper_synthesis
        h_a and h_s. The first ``latents`` channels that h_s returns are the means, the others the
        logarithms.
    prior
        Of z.
    """

    stride = 16
    unit = 64

    def __init__(self, config: VaeConfig) -> None:
        super().__init__(config)
        width, latents = config.width, config.latents
        small, large = down(width, width), up(width, width)
        parameters = nn.Conv2d(width, 2 * latents, 3, padding=1)
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(latents, width, 3, padding=1),
            nn.ReLU(),
            down(width, width),
            nn.ReLU(),
            small,
        )
        self.hyper_synthesis = nn.Sequential(
            large, nn.ReLU(), up(width, width), nn.ReLU(), parameters
        )
        for module in (*self.hyper_analysis, *self.hyper_synthesis):
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                _initialise(module)
        with torch.no_grad():  # z is rounded at step 1
            small.weight.mul_(_HYPER_START)
            large.weight.div_(_HYPER_START)
            if parameters.bias is not None:
                parameters.bias[latents:] = _LOG2_START / 2
        self.prior = FactorisedPrior(width, spread=3.0)

    def gaussians(self, z_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log2 scale, each ``(B, latents, H/16, W/16)``, from rounded z."""
        parameters: Tensor = self.hyper_synthesis(z_hat)
        mean, log2_scale = parameters.chunk(2, dim=1)
        return mean, log2_scale

    def quantise(
        self,
        latents: Tensor,
        step: Tensor | float,
        *,
        quantiser: Quantiser,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `Vae.quantise`; unless all is noise, h_s gets rounded z, as in decoders."""
        z_rate, z_seen = _proxies(self.hyper_analysis(latents), quantiser, generator)
        mean, log2_scale = self.gaussians(z_seen)
        delta = self.steps(step).reshape(-1, self.config.latents, 1, 1)
        scales = scales_in_steps(log2_scale, delta)
        rate, distortion = _proxies((latents - mean) / delta, quantiser, generator)
        bits = bits_of(gaussian_cells(rate, scales)) + bits_of(self.prior.likelihood(z_rate))
        return bits, mean + distortion * delta


def build(config: VaeConfig) -> FactorisedVae | HyperpriorVae:
    """Return an untrained codec; its weights depend on torch's global generator."""
    if config.architecture == "factorised":
        return FactorisedVae(config)
    return HyperpriorVae(config)


def pad(pictures: Tensor, unit: int) -> Tensor:
    """Repeat the last row and column of ``(B, 3, H, W)`` until both sides are multiples."""
    height, width = pictures.shape[-2:]
    right, bottom = -width % unit, -height % unit
    return functional.pad(pictures, (0, right, 0, bottom), mode="replicate")
