"""Decoded pictures on disk: seconds of video that are read more often than once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from idse.picture import Picture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from idse.picture import PictureFormat


class PictureStore:
    """Pictures of one format on disk, in a file that its folder takes away with it."""

    def __init__(self, path: Path, form: PictureFormat) -> None:
        self._form = form
        self._file = path.open("w+b")
        self._path = path
        self._dtype = np.dtype(np.uint8 if form.bit_depth == 8 else np.uint16)
        self._sizes = [rows * columns for rows, columns in form.plane_shapes]
        self._indices: list[int] = []

    def append(self, picture: Picture) -> None:
        """Write a picture's planes."""
        for plane in picture.planes:
            self._file.write(np.ascontiguousarray(plane).data)
        self._indices.append(picture.index)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, n: int) -> Picture:
        """Read a picture."""
        total = sum(self._sizes)
        self._file.seek(n * total * self._dtype.itemsize)
        data = np.fromfile(self._file, self._dtype, total)
        ends = np.cumsum(self._sizes)[:-1]
        y, cb, cr = (
            part.reshape(shape)
            for part, shape in zip(np.split(data, ends), self._form.plane_shapes, strict=True)
        )
        return Picture(planes=(y, cb, cr), format=self._form, index=self._indices[n])

    def __iter__(self) -> Iterator[Picture]:
        return (self[n] for n in range(len(self)))

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
