"""A start that already is a transform codec: Karhunen-Loeve bases, stage by stage.

From random weights, most of a short run goes into finding out how to pass pictures through at all.
Here each stage of the analysis starts as the principal components of what the stage before makes of
blocks of 2x2, the synthesis as its transpose, and the prior knows how widely each feature map
spreads. Normalisation starts nearly linear; residual layers as identities, of activations that
are lifted above zero so that their ReLU lets most pass. Training then adds what a block transform
lacks: overlap, gain control, scales that vary over the picture.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from idse.learned.vae.layers import GDN, ResidualLayer
from idse.learned.vae.networks import HyperpriorVae

if TYPE_CHECKING:
    from idse.learned.vae.networks import FactorisedVae

# Of what else the convolutions hold, relative to usual random weights: enough to differ.
_REST = 0.01
_GAMMA = 0.01
# Standard deviations that activations of residual stages are lifted by. What is lifted higher loses
# less at the start, and more as soon as weights move: they move the lifted mean with them.
_LIFT = 2.0
# Standard deviation of a logistic density over its half-width: what factorised priors start as.
_LOGISTIC = 1.8
# Of the standard deviation of hyper latents, which are rounded at step 1.
_HYPER = 0.3


@torch.no_grad()
def start_from(network: FactorisedVae | HyperpriorVae, pictures: Tensor) -> None:
    """Set a network's weights from pictures.

    Parameters
    ----------
    network
        Untrained.
    pictures
        ``(B, 3, H, W)`` in [0, 1], as many samples as possible; sides multiples of its unit.
    """
    mirrors = [layer for layer in network.synthesis if isinstance(layer, nn.ConvTranspose2d)]
    for layer in (*network.analysis, *network.synthesis):
        if isinstance(layer, GDN):
            layer.gamma_root.mul_((_GAMMA / 0.1) ** 0.5)
        elif isinstance(layer, ResidualLayer):
            layer.second.weight.mul_(_REST)
    x, known = pictures - network.offset, 3
    layers = list(network.analysis)
    for layer, next_ in itertools.zip_longest(layers, layers[1:]):
        if isinstance(layer, nn.Conv2d):
            mirror = mirrors.pop()
            stage = _set_stage(layer, mirror, x, known)
            if isinstance(next_, ResidualLayer) and not next_.last:
                _lift(layer, mirror, mirrors[-1], x, known)
            known = stage
        x = layer(x)
    spread = x.transpose(0, 1).flatten(1).std(1).clamp(min=1e-3)
    if isinstance(network, HyperpriorVae):
        _set_hyper(network, spread)
    else:
        network.prior.start_at(spread / _LOGISTIC)


def _set_stage(layer: nn.Conv2d, mirror: nn.ConvTranspose2d, x: Tensor, known: int) -> int:
    """Make a stage of the first ``known`` channels of its input; return how many it fills."""
    blocks = functional.unfold(x[:, :known], 2, stride=2)  # (B, 4 known, blocks)
    samples = blocks.transpose(0, 1).flatten(1).double()
    # Means belong to channels, not to places within a block: only those can be put back.
    mean = samples.reshape(known, -1).mean(1)
    samples -= mean.repeat_interleave(4)[:, None]
    _, vectors = torch.linalg.eigh(samples @ samples.T / samples.shape[1])
    kept = min(layer.out_channels, 4 * known)
    basis = vectors.flip(1)[:, :kept].T  # rows, widest first
    basis *= torch.where(basis.sum(1, keepdim=True) < 0, -1.0, 1.0)
    taps = basis.reshape(kept, known, 2, 2).to(x.dtype)
    centre = layer.kernel_size[0] // 2
    place = slice(centre, centre + 2)
    layer.weight[:kept].mul_(_REST)
    layer.weight[:, known:].mul_(_REST)
    layer.weight[:kept, :known, place, place] += taps
    mirror.weight.mul_(_REST)
    mirror.weight[:kept, :known, place, place] += taps
    assert layer.bias is not None
    assert mirror.bias is not None
    layer.bias[:kept] = -(basis @ mean.repeat_interleave(4)).to(x.dtype)
    mirror.bias[:known] = mean.to(x.dtype)
    return kept


def _lift(
    layer: nn.Conv2d, mirror: nn.ConvTranspose2d, deeper: nn.ConvTranspose2d, x: Tensor, known: int
) -> None:
    """Raise most of what a stage makes of ``x`` above zero; its mirror takes that away again.

    The next stage takes the mean of its input away, and puts it back. Seen through the mirror, a
    mean differs from place to place within a block, which no bias can be: the last channel, given
    up for it, is 1 everywhere.
    """
    assert layer.bias is not None
    assert deeper.bias is not None
    layer.weight[-1] = 0
    layer.bias[-1] = 1
    deeper.weight[:, -1] = 0
    deeper.bias[-1] = 1
    lift = _LIFT * layer(x).std((0, 2, 3))
    layer.bias += lift
    mirror.weight[-1] = 0
    mirror.weight[-1, :known] = -torch.einsum("c,cijk->ijk", lift, mirror.weight[:, :known])


def _set_hyper(network: HyperpriorVae, spread: Tensor) -> None:
    """Let hyper latents see all maps alike, and scales start as each map's own."""
    first, small = _ends(network.hyper_analysis)
    large, last = _ends(network.hyper_synthesis)
    first.weight.div_(spread[:, None, None])
    small.weight.mul_(_HYPER)
    large.weight.div_(_HYPER)
    last.weight.mul_(0.1)
    assert last.bias is not None
    last.bias[network.config.latents :] = spread.log2()


def _ends(layers: nn.Sequential) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    found = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    return [found[0], found[-1]]
