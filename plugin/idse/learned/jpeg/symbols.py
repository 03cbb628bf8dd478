"""The symbols that a sequential JPEG codes, the bits of their codes, and what a coefficient adds.

A block's AC coefficients become symbols of a run of zeros and the number of bits of the value that
ends it, its DC coefficient the number of bits of the difference to the block before (ITU-T T.81,
F.1.2); the value's own bits follow as they are.

Sizes are steps: between two tables nothing changes but where a coefficient passes from one level to
the next. The gradient given to a coefficient is what the step at its nearest side costs in bits,
spread over the distance by the slope of the surrogate's rounding, 3 u^2 (`discrete.Surrogate`), of
which four times the integral over one level is 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from idse.codecs.jpeg import JpegLayout

AC_SYMBOLS, DC_SYMBOLS = 256, 16
_END, _SIXTEEN_ZEROS = 0x00, 0xF0
_LONGEST_CODE = 16.0
# One over the mean slope of the surrogate's rounding.
_UNIT = 4.0


class Statistics(NamedTuple):
    """What the symbols of luma, or of both chroma components, say about their size.

    Attributes
    ----------
    bits
        ``(n,)`` with a gradient: all symbols' codes, about as long as Huffman's, and the values'
        own bits.
    ac, dc
        ``(n, 256)`` and ``(n, 16)``: how often each symbol is coded.
    """

    bits: Tensor
    ac: Tensor
    dc: Tensor


def statistics(levels: list[Tensor], layout: JpegLayout) -> list[Statistics]:
    """Count the symbols of a sequential JPEG with one scan.

    Parameters
    ----------
    levels
        Per component ``(n, rows, columns, 8, 8)``, natural order: what
        `idse.learned.jpeg.differentiable.encode` returns. Values are rounded here; those of the
        surrogate tell by the rest on which side they would leave their level, and get a gradient.
        Whole ones get none where they are 0.
    layout
        Of the file.

    Returns
    -------
    list of Statistics
        Of luma, and of both chroma components together.
    """
    zigzag = _zigzag().to(levels[0].device)
    flat = [level.flatten(3).flatten(1, 2)[..., zigzag] for level in levels]
    found = []
    for components in ((0,), (1, 2)):
        order, filled = [], 0
        start = 0
        for component in components:
            sequence, dummies = _coding_order(layout, component)
            order.append(sequence.to(levels[0].device) + start)
            start += len(sequence)
            filled += dummies
        group = torch.cat([flat[component] for component in components], 1)
        bits, ac, dc = _Bits.apply(group, order, filled)  # type: ignore[no-untyped-call]
        found.append(Statistics(bits, ac, dc))
    return found


@lru_cache(maxsize=1)
def _zigzag() -> Tensor:
    """Return natural positions in the order of coding."""
    diagonal = sorted(range(64), key=lambda i: (i // 8 + i % 8, _along(i)))
    return torch.tensor(diagonal)


def _along(i: int) -> int:
    row, column = divmod(i, 8)
    return column if (row + column) % 2 == 0 else row


@lru_cache(maxsize=64)
def _coding_order(layout: JpegLayout, component: int) -> tuple[Tensor, int]:
    """Return a component's blocks in the order of coding, and how many more only fill MCUs."""
    rows, columns = layout.block_shape(component)
    across, down = layout.factors[component]
    mcu_rows, mcu_columns = -(-rows // down), -(-columns // across)
    row = torch.arange(mcu_rows * down).reshape(mcu_rows, 1, down, 1)
    column = torch.arange(mcu_columns * across).reshape(1, mcu_columns, 1, across)
    inside = (row < rows) & (column < columns)
    order = (row * columns + column)[inside]
    return order, inside.numel() - order.numel()


class _Bits(torch.autograd.Function):
    """Bits of a group of components, and the counts that they follow from."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own
        levels: Tensor,
        order: list[Tensor],
        filled: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Count; ``levels`` are ``(n, blocks, 64)`` in the order of coding within a block."""
        whole = levels.round()
        values = whole.to(torch.int64)
        runs = _Runs(values[..., 1:])
        ac = runs.counts()
        ac[:, _END] += filled
        differences = [_differences(values[:, sequence, 0]) for sequence in order]
        dc = sum(_histogram(_bit_length(d), DC_SYMBOLS) for d in differences)
        assert isinstance(dc, torch.Tensor)
        dc[:, 0] += filled
        values_bits = torch.arange(DC_SYMBOLS, device=levels.device)
        ac_lengths, dc_lengths = _lengths(ac), _lengths(dc)
        bits = (ac * (ac_lengths + values_bits.repeat(16))).sum(1)
        bits = bits + (dc * (dc_lengths + values_bits)).sum(1)
        if ctx.needs_input_grad[0]:
            slopes = torch.empty_like(levels)
            slopes[..., 1:] = runs.slopes(ac_lengths, levels[..., 1:] - whole[..., 1:])
            slopes[..., 0] = _dc_slopes(dc_lengths, differences, order, levels[..., 0])
            ctx.save_for_backward(slopes)
        ctx.mark_non_differentiable(ac, dc)
        return bits.to(levels.dtype), ac.to(levels.dtype), dc.to(levels.dtype)

    @staticmethod
    def backward(ctx: Any, bits: Tensor, *_counts: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        """Hand on what was found in the forward pass."""
        (slopes,) = ctx.saved_tensors
        return slopes * (_UNIT * bits[:, None, None]), None, None


class _Runs:
    """Where the coefficients of blocks that are not 0 are, and what lies between them."""

    def __init__(self, values: Tensor) -> None:
        """Look at ``(n, blocks, 63)`` whole AC coefficients."""
        self._values = values
        self._sizes = _bit_length(values)
        self._place = torch.arange(63, device=values.device)
        self._coded = values != 0
        marks = torch.where(self._coded, self._place, -1).cummax(2).values
        self._before = torch.nn.functional.pad(marks[..., :-1], (1, 0), value=-1)
        self._last = marks[..., -1]

    def counts(self) -> Tensor:
        """Return how often each symbol is coded, ``(n, 256)``."""
        runs = self._place - self._before - 1
        symbols = torch.where(self._coded, (runs % 16) * 16 + self._sizes, AC_SYMBOLS)
        counts = _histogram(symbols.flatten(1), AC_SYMBOLS + 1)[:, :AC_SYMBOLS]
        counts[:, _SIXTEEN_ZEROS] += ((runs // 16) * self._coded).sum((1, 2))
        counts[:, _END] += (self._last < 62).sum(1)
        return counts

    def slopes(self, lengths: Tensor, rest: Tensor) -> Tensor:
        """Return what a step up costs in bits, by the step at each coefficient's nearest side.

        Parameters
        ----------
        lengths
            ``(n, 256)``: bits of each symbol.
        rest
            ``(n, blocks, 63)``: the coefficients less their whole values.
        """
        magnitude = self._values.abs()
        towards = rest.sign().to(torch.int64)
        # Whether the step goes away from 0; at 0 either does.
        away = torch.where(self._coded, towards * self._values.sign(), towards.abs())
        # What there is to pay for a value of 1 here instead of a 0, whichever it is now.
        place, before = self._place, self._before
        marks = torch.where(self._coded, place, 63).flip(2).cummin(2).values.flip(2)
        behind = torch.nn.functional.pad(marks[..., 1:], (0, 1), value=63)
        size_behind = self._sizes.gather(2, behind.clamp(max=62))

        def cost(runs: Tensor, sizes: Tensor) -> Tensor:
            symbols = (runs % 16) * 16 + sizes
            code = lengths.gather(1, symbols.flatten(1)).reshape(symbols.shape)
            return code + sizes + (runs // 16) * lengths[:, _SIXTEEN_ZEROS, None, None]

        split = cost(behind - place - 1, size_behind) - cost(behind - before - 1, size_behind)
        end = torch.where(place == 62, -lengths[:, _END, None, None], 0.0)
        runs = place - before - 1
        first = cost(runs, torch.ones_like(runs)) + torch.where(behind < 63, split, end)
        later = cost(runs, _bit_length(magnitude + away)) - cost(runs, self._sizes)
        step = torch.where(self._coded, later, first)
        step = torch.where((magnitude == 1) & (away < 0), -first, step)
        return step * towards


def _differences(values: Tensor) -> Tensor:
    """Return each DC less the one before; the first is coded as it is."""
    return values.diff(dim=1, prepend=torch.zeros_like(values[:, :1]))


def _dc_slopes(
    lengths: Tensor, differences: list[Tensor], order: list[Tensor], like: Tensor
) -> Tensor:
    """Return what a step up of each DC costs: by the mean of one up and one down."""
    slopes = torch.zeros_like(like)
    for difference, sequence in zip(differences, order, strict=True):
        sizes = [_bit_length(difference + step).clamp(max=DC_SYMBOLS - 1) for step in (1, -1)]
        up, down = (lengths.gather(1, size) + size for size in sizes)
        own = (up - down) / 2
        # The next block's difference falls by what this DC rises.
        own[:, :-1] -= own[:, 1:].clone()
        slopes[:, sequence] = own.to(slopes.dtype)
    return slopes


def _bit_length(values: Tensor) -> Tensor:
    """Return the bits of whole numbers' magnitudes: 0 for 0, 1 for 1, 2 for 2 and 3."""
    return torch.frexp(values.abs().to(torch.float32)).exponent.to(torch.int64)


def _histogram(symbols: Tensor, count: int) -> Tensor:
    """Count ``(n, m)`` symbols per row, ``(n, count)``."""
    counts = torch.zeros(len(symbols), count, dtype=torch.int64, device=symbols.device)
    return counts.scatter_add_(1, symbols, torch.ones_like(symbols))


def _lengths(counts: Tensor) -> Tensor:
    """Return the bits of each symbol's code, nearly as Huffman's, float64.

    Codes have as many bits as entropy asks for, which Huffman's nearly reach, but for one thing: a
    symbol more frequent than all others together still takes a whole bit. So as long as there is
    such a symbol, it gets the next code of 0, 10, 110 ..., and the others share the rest.

    A symbol that is not coded has about the bits that it would have if it was, once.
    """
    counts = counts.to(torch.float64)
    falling, order = counts.sort(1, descending=True)
    left = falling.flip(1).cumsum(1).flip(1)
    alone = (2 * falling > left).cumprod(1)
    alone[:, -1] = 0
    taken = alone.sum(1, keepdim=True)
    total = left.gather(1, taken)
    # As if half a symbol more of each had been coded, where none was.
    share = torch.where(falling > 0, falling / total.clamp(min=1), 0.5 / (total + 1))
    rank = torch.arange(counts.shape[1], device=counts.device)
    lengths = torch.where(alone > 0, rank + 1.0, taken - torch.log2(share))
    return torch.empty_like(lengths).scatter_(1, order, lengths.clamp(max=_LONGEST_CODE))
