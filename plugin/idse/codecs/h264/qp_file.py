"""QPs of a whole stream as a ``.npy`` file, written frame by frame."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from idse.errors import InputError, OutputError

if TYPE_CHECKING:
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
        self._name = os.fspath(path)
        self._target = Path(os.path.realpath(path))
        self._part = self._target.with_name(f".{self._target.name}.{os.getpid()}.part")
        self._file: BinaryIO | None = None
        self._shape: tuple[int, ...] = (0, 0)
        self._frames = 0

    def __enter__(self) -> Self:
        try:
            if self._target.is_dir():
                raise IsADirectoryError(21, "it is a folder")
            self._file = self._part.open("xb")
        except OSError as error:
            raise self._failure(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as problem:
            raise self._failure(problem) from problem
        finally:
            if self._file is not None:
                self._file.close()
            with contextlib.suppress(OSError):
                self._part.unlink()

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
        try:
            if self._frames == 0:
                self._write_header()
            self._file.write(qp.astype("<f4").tobytes())
        except OSError as error:
            raise self._failure(error) from error
        self._frames += 1

    def _write_header(self) -> None:
        """Write the header at the file's start; numpy pads it for any number of frames."""
        assert self._file is not None
        shape = (self._frames, *self._shape)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def _finish(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._target)

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self._name}: {error.strerror or error}")
