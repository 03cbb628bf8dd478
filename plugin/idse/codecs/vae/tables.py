"""Tables of integer frequencies, and the range coder that runs on them.

A table gives every whole number of a span, and an escape for all others, a frequency of at least 1;
the frequencies sum to 2^16. They are integers in the model file and are never computed from floats
when a stream is read, so encoder and decoder cannot disagree about them.

`constriction` takes weights and makes 24-bit probabilities of them: of n weights w_i that sum to
2^24 - n it makes exactly w_i + 1 over 2^24 (``perfect=False``: its scale is then 1, and its running
sums are whole numbers that even single precision holds). ``w_i = 2^8 f_i - 1`` does that, so that
symbol i has the probability f_i / 2^16, to the last bit.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from idse.errors import InputError, ModelError, missing_extra

if TYPE_CHECKING:
    from types import ModuleType

Integers = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int16] | npt.NDArray[np.int32]

PRECISION: Final = 16

# What is coded, and what is read: |value| at most this.
MAX_VALUE: Final = 1 << 20

_MAX_TABLE_SIZE: Final = 1 << 14
# Of value + 1, where the value is how far a number lies outside its table: 2^20 plus half a table.
_CLASSES: Final = 22
_WORD_BITS: Final = 32


def _constriction() -> ModuleType:
    try:
        import constriction
    except ImportError:
        raise missing_extra("constriction", "vae") from None
    module: ModuleType = constriction
    return module


def _categorical(frequencies: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - constriction is untyped
    weights = frequencies.astype(np.float32) * (1 << (24 - PRECISION)) - 1
    return _constriction().stream.model.Categorical(weights, perfect=False)


def _class_frequencies() -> npt.NDArray[np.int64]:
    """Halving from class to class, as if the classes were in unary."""
    frequencies: npt.NDArray[np.int64] = np.maximum(1 << 15 >> np.arange(_CLASSES), 1)
    frequencies[0] -= frequencies.sum() - (1 << PRECISION)
    return frequencies


class EntropyTables:
    """Frequencies of whole numbers, table after table.

    Parameters
    ----------
    frequencies : uint16 array
        Those of all tables one behind the other. In each the last is the escape's.
    sizes : int32 array ``(tables,)``
        How many frequencies each table has, 2 to 16384.
    lows : int32 array ``(tables,)``
        The number that each table's first frequency belongs to.

    Raises
    ------
    ModelError
        Lengths contradict each other, a frequency is 0, or a table does not sum to 2^16.
    """

    def __init__(
        self,
        frequencies: npt.NDArray[np.uint16],
        sizes: Integers,
        lows: Integers,
    ) -> None:
        kinds = (frequencies.dtype, sizes.dtype, lows.dtype)
        if kinds != (np.dtype(np.uint16), np.dtype(np.int32), np.dtype(np.int32)):
            raise ModelError(f"frequency tables of {', '.join(map(str, kinds))} are not this kind")
        if frequencies.ndim != 1 or sizes.ndim != 1 or sizes.shape != lows.shape or not len(sizes):
            raise ModelError("the frequency tables' arrays contradict each other")
        if sizes.min() < 2 or sizes.max() > _MAX_TABLE_SIZE or sizes.sum() != len(frequencies):
            raise ModelError("the frequency tables' sizes do not fit their frequencies")
        if np.abs(lows.astype(np.int64)).max() > _MAX_TABLE_SIZE:
            raise ModelError("a frequency table starts too far from 0")
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        sums = np.add.reduceat(frequencies.astype(np.int64), starts[:-1])
        if frequencies.min() < 1 or (sums != 1 << PRECISION).any():
            raise ModelError(f"a frequency table does not sum to {1 << PRECISION}")
        self.frequencies = frequencies
        self.sizes = sizes
        self.lows = lows
        self._starts = starts
        self._lasts = (sizes - 1).astype(np.uint32)
        self._models: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.sizes)

    def model(self, table: int) -> Any:  # noqa: ANN401 - constriction is untyped
        """Return constriction's model of one table."""
        model = self._models.get(table)
        if model is None:
            start, end = self._starts[table : table + 2]
            model = self._models[table] = _categorical(self.frequencies[start:end])
        return model

    @cached_property
    def _costs(self) -> npt.NDArray[np.float32]:
        return (PRECISION - np.log2(self.frequencies)).astype(np.float32)

    def symbols(self, values: Integers, index: Indices) -> Integers:
        """Return each value's place in its table, the last where it is outside; as ``values``."""
        offsets = (values - self.lows.take(index)).view(np.uint32)
        return np.minimum(offsets, self._lasts.take(index)).view(np.int32)

    def escaped(self, symbols: Integers, index: Indices) -> npt.NDArray[np.intp]:
        """Return where symbols are their table's escape."""
        return np.flatnonzero(symbols.view(np.uint32) == self._lasts.take(index))

    def places(self, values: Integers, index: Indices) -> npt.NDArray[np.int32]:
        """Return which of ``frequencies`` each value has; as ``values``."""
        places: npt.NDArray[np.int32] = self._starts.take(index) + self.symbols(values, index)
        return places

    def bits(self, values: Integers, index: Indices) -> float:
        """Return what the range coder takes for values, in bits, but for its last two bytes.

        Parameters
        ----------
        values : int32 array ``(n,)``
            At most `MAX_VALUE` in magnitude.
        index : int16 or int32 array ``(n,)``
            Each value's table.
        """
        symbols = self.symbols(values, index)
        total = self._costs.take(self._starts.take(index) + symbols).sum(dtype=np.float64)
        places = self.escaped(symbols, index)
        if len(places):
            _, excess = self.excess(values[places], index[places])
            classes = _classes(excess)
            total += (PRECISION - np.log2(_class_frequencies()[classes]) + classes + 1).sum()
        return float(total)

    def excess(
        self, values: Integers, index: Indices
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Return on which side of its table each escaped value is (True: above), and how far."""
        low = self.lows.take(index).astype(np.int64)
        high = low + self._lasts.take(index)
        above = values >= high
        return above, np.where(above, values - high, low - 1 - values)

    def restore(
        self, above: npt.NDArray[np.bool_], excess: npt.NDArray[np.int64], index: Indices
    ) -> npt.NDArray[np.int64]:
        """Return the values of `excess`."""
        low = self.lows.take(index).astype(np.int64)
        return np.where(above, low + self._lasts.take(index) + excess, low - 1 - excess)


def _classes(excess: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the position of the highest set bit of ``excess + 1``."""
    return np.frexp((excess + 1).astype(np.float64))[1].astype(np.int64) - 1


def _groups(index: Indices) -> tuple[npt.NDArray[np.intp], list[tuple[int, int, int]]]:
    """Return an order in which tables follow each other, and (table, start, end) in it."""
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index, minlength=1) if len(index) else np.zeros(1, np.int64)
    tables = np.flatnonzero(counts)
    ends = np.cumsum(counts[tables])
    starts = ends - counts[tables]
    return order, [(int(t), int(s), int(e)) for t, s, e in zip(tables, starts, ends, strict=True)]


class SymbolWriter:
    """A range coder's output, plane by plane.

    A plane's symbols go table by table, in their order within each; then sides, bit lengths and
    low bits of the escaped ones (Exp-Golomb with a modelled prefix).
    """

    def __init__(self) -> None:
        self._coder = _constriction().stream.queue.RangeEncoder()

    def write(self, tables: EntropyTables, values: Integers, index: Indices) -> None:
        """Append a plane.

        Parameters
        ----------
        tables
            Frequencies.
        values : int32 array ``(n,)``
            At most `MAX_VALUE` in magnitude.
        index : int16 or int32 array ``(n,)``
            Each value's table.
        """
        symbols = tables.symbols(values, index)
        order, groups = _groups(index)
        in_order = symbols[order]
        for table, start, end in groups:
            self._coder.encode(in_order[start:end], tables.model(table))
        places = tables.escaped(symbols, index)
        if not len(places):
            return
        above, excess = tables.excess(values[places], index[places])
        classes = _classes(excess)
        model = _constriction().stream.model
        self._coder.encode(above.astype(np.int32), model.Uniform(2))
        self._coder.encode(classes.astype(np.int32), _categorical(_class_frequencies()))
        long = classes > 0
        sizes = (1 << classes[long]).astype(np.int32)
        if len(sizes):
            low = (excess[long] + 1 - sizes).astype(np.int32)
            self._coder.encode(low, model.Uniform(), sizes)

    def finish(self) -> bytes:
        """Return the stream: as few bytes as tell it from every other, without trailing zeros."""
        words: bytes = self._coder.get_compressed().astype(">u4").tobytes()
        count, (lower, span) = self._coder.pos()
        # As one number: what constriction closed the stream with, which lies less than ``span``
        # above the least that would do. Only that one's last 64 bits are known: ``lower``.
        size = 4 * count + 8
        closed = int.from_bytes(words.ljust(size, b"\0"), "big")
        least = closed - (closed - lower) % (1 << 64)
        point, dropped = closed, 8
        while dropped:
            unit = 1 << (8 * dropped)
            point = -(-least // unit) * unit
            if point < least + span:
                break
            dropped -= 1
        return point.to_bytes(size, "big").rstrip(b"\0")


class SymbolReader:
    """What `SymbolWriter` wrote. Past the end it reads zeros.

    Parameters
    ----------
    data
        A stream.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        padded = bytes(data) + bytes(-len(data) % (_WORD_BITS // 8))
        words = np.frombuffer(padded, ">u4").astype(np.uint32)
        self._coder = _constriction().stream.queue.RangeDecoder(words)

    def read(self, tables: EntropyTables, index: Indices) -> Integers:
        """Return the next plane, int32 ``(n,)``.

        Parameters
        ----------
        tables, index
            What it was written with.

        Raises
        ------
        InputError
            The stream is impossible.
        """
        order, groups = _groups(index)
        in_order = np.empty(len(index), np.int32)
        for table, start, end in groups:
            in_order[start:end] = self._decode(tables.model(table), end - start)
        symbols = np.empty(len(index), np.int32)
        symbols[order] = in_order
        values = symbols + tables.lows.take(index)
        places = tables.escaped(symbols, index)
        if len(places):
            values[places] = self._escaped(tables, index[places])
        return values

    def _escaped(self, tables: EntropyTables, index: Indices) -> npt.NDArray[np.int64]:
        model = _constriction().stream.model
        above = self._decode(model.Uniform(2), len(index)) == 1
        classes = self._decode(_categorical(_class_frequencies()), len(index)).astype(np.int64)
        excess = (1 << classes) - 1
        long = classes > 0
        if long.any():
            sizes = (1 << classes[long]).astype(np.int32)
            excess[long] += self._decode(model.Uniform(), sizes)
        values = tables.restore(above, excess, index)
        if np.abs(values).max() > MAX_VALUE:
            raise InputError("this VAE stream is damaged: it holds a value out of range")
        return values

    def _decode(self, model: Any, amount: Any) -> Integers:  # noqa: ANN401 - untyped
        try:
            decoded: Integers = self._coder.decode(model, amount)
        except AssertionError:  # what constriction's binding raises
            raise InputError(
                "this VAE stream is damaged: its entropy coding is impossible"
            ) from None
        return decoded
