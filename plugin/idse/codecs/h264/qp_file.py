"""QPs of a whole stream as a ``.npy`` file, written frame by frame."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from idse.errors import InputError
from idse.files import open_atomically, output_errors

if TYPE_CHECKING:
    import os
    from types import TracebackType
    from typing import BinaryIO


class QpFile:
    """Writes float32 ``(frames, mb_rows, mb_cols)`` with one frame in memory.

    A context manager: the array lies beside ``path`` while it grows and gets its name at the end of
    the ``with`` block. After an exception nothing is left of it, and a file that was there before
    is untouched.

    Raises
    ------
    OutputError
        The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._stack = contextlib.ExitStack()
        self._file: BinaryIO | None = None
        self._shape: tuple[int, ...] = (0, 0)
        self._frames = 0

    def __enter__(self) -> Self:
        self._file = self._stack.enter_context(open_atomically(self._path))
        self._stack.push(self._finish)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def append(self, qp: npt.NDArray[np.float32]) -> None:
        """Add a frame.

        Parameters
        ----------
        qp
            float32 ``(mb_rows, mb_cols)``, the same shape every time.

        Raises
        ------
        InputError
            The shape differs from the first frame's.
        """
        if self._frames == 0:
            self._shape = qp.shape
        elif qp.shape != self._shape:
            raise InputError(
                f"frame {self._frames} has {qp.shape[0]}x{qp.shape[1]} macroblocks, those before "
                f"it have {self._shape[0]}x{self._shape[1]}: one array cannot hold both"
            )
        assert self._file is not None, "append outside of the with block"
        with output_errors(self._path):
            if self._frames == 0:
                self._write_header()
            self._file.write(qp.astype("<f4").tobytes())
        self._frames += 1

    def _write_header(self) -> None:
        """Write the header at the file's start; numpy pads it for any number of frames."""
        assert self._file is not None
        shape = (self._frames, *self._shape)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def _finish(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Write the header again, now that the number of frames is known."""
        assert self._file is not None
        if kind is None:
            with output_errors(self._path):
                self._file.seek(0)
                self._write_header()
