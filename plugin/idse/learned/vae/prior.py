"""The non-parametric factorised prior: one learned density per feature map."""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from idse.learned.vae.layers import lower_bound

_WIDTHS = (1, 3, 3, 3, 1)
MIN_LIKELIHOOD = 1e-9


class FactorisedPrior(nn.Module):
    """Densities through their cumulative functions (thesis, equations 4.15 to 4.21).

    A density belongs to the continuous latent, so one model serves every quantisation step: the
    probability of a cell is the difference of the cumulative function over it.

    Parameters
    ----------
    channels
        Feature maps, each of which has a density of its own.
    spread
        Half-width of the density at the start, in units of the latent.
    """

    def __init__(self, channels: int, *, spread: float = 10.0) -> None:
        super().__init__()
        self.channels, self.spread = channels, spread
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        scale = spread ** (1 / (len(_WIDTHS) - 1))
        for inputs, outputs in itertools.pairwise(_WIDTHS):
            start = torch.tensor(1 / scale / outputs).expm1().log()
            self.matrices.append(nn.Parameter(start.repeat(channels, outputs, inputs)))
            self.biases.append(nn.Parameter(torch.rand(channels, outputs, 1) - 0.5))
            if outputs != 1:
                self.factors.append(nn.Parameter(torch.zeros(channels, outputs, 1)))

    @torch.no_grad()
    def start_at(self, spreads: Tensor) -> None:
        """Let every untrained density have a half-width of its own, ``(channels,)``, above 0."""
        first = self.matrices[0]
        slopes = functional.softplus(first) * (self.spread / spreads)[:, None, None]
        first.copy_(slopes + torch.log(-torch.expm1(-slopes)))

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of the cumulative function at ``(channels, 1, n)``, same shape."""
        for index, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            x = functional.softplus(matrix) @ x + bias
            if index < len(self.factors):
                x = x + torch.tanh(self.factors[index]) * torch.tanh(x)
        return x

    def likelihood(self, x: Tensor, step: Tensor | float = 1.0) -> Tensor:
        """Return the probability of the quantisation cells around latents.

        Parameters
        ----------
        x
            ``(B, channels, H, W)``: middles of the cells.
        step
            Width of the cells: a number, or what broadcasts to ``x``.

        Returns
        -------
        Tensor
            As ``x``, in [1e-9, 1].
        """
        lower = self.logits(self._per_map(x - step / 2))
        upper = self.logits(self._per_map(x + step / 2))
        # Differences of sigmoids lose no digits in the left tail: mirror the right one there.
        sign = -torch.sign(lower + upper).detach()
        sign = torch.where(sign == 0, 1.0, sign)
        cell = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        cell = cell.reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)
        return lower_bound(cell, MIN_LIKELIHOOD)

    def _per_map(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).reshape(self.channels, 1, -1)

    @torch.no_grad()
    def cumulative(self, edges: Tensor) -> Tensor:
        """Return the cumulative function of every feature map at ``(n,)`` or ``(channels, n)``.

        This is what a codec's tables of integer frequencies are made from, once, when a model is
        exported: in double precision, ``(channels, n)``.
        """
        wide = edges.double().expand(self.channels, -1)[:, None, :]
        return torch.sigmoid(copy.deepcopy(self).double().logits(wide))[:, 0]
