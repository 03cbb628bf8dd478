"""What an evaluation asks of a family of encoders."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from idse.errors import InputError
from idse.evaluation.sources import Clip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from idse.evaluation.sources import Images, Source
    from idse.picture import Picture

Analysis = dict[str, "npt.NDArray[Any]"]


class Coder(ABC):
    """An encoder of still pictures with its options: all of an encode but its rate.

    Instances are handed to other processes, so they hold options only.

    Attributes
    ----------
    codec
        Name in suites.
    language
        What its options are those of, for tables.
    rate_name, rates
        What a rate is, and the rates where none are asked for: whether more of it means more bytes
        does not matter.
    pix_fmts
        Formats of `Images` that it takes, the preferred one first.
    suffix
        Of its files.
    decoder
        The stock decoder, for tables.
    """

    codec: ClassVar[str]
    language: ClassVar[str]
    rate_name: ClassVar[str]
    rates: ClassVar[tuple[float, ...]]
    pix_fmts: ClassVar[tuple[str, ...]]
    suffix: ClassVar[str]
    decoder: ClassVar[str]

    @classmethod
    @abstractmethod
    def parse(cls, words: Sequence[str]) -> Self:
        """Read options as on a command line.

        Raises
        ------
        InputError
            They cannot be read, or set the rate.
        """

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return the name and version of the library that encodes."""

    def check(self, source: Source) -> None:
        """Check that a source can be encoded.

        Raises
        ------
        InputError
            It cannot, or not with these options.
        """
        if isinstance(source, Clip):
            raise InputError(f"{self.codec} encodes images, and {source.name} is a clip")
        if source.pix_fmt not in self.pix_fmts:
            raise InputError(
                f"{self.codec} takes {' or '.join(self.pix_fmts)}, not {source.pix_fmt}: compare "
                "it with what encodes the same pictures"
            )

    @abstractmethod
    def key(self, source: Source) -> tuple[str, ...]:
        """Return hashes of all that has a say in an encode beside source, options and rate."""

    def analysis_key(self, source: Images) -> tuple[str, ...] | None:
        """Return what `analyse` depends on beside the source; None where there is nothing to do."""
        del source
        return None

    def analyse(self, source: Images) -> Analysis:
        """Find out what is slow and the same at every rate: kept on disk, and given to `encode`."""
        del source
        return {}

    @abstractmethod
    def encode(
        self, source: Images, rate: float, analysis: Mapping[str, npt.NDArray[Any]]
    ) -> list[bytes]:
        """Encode every picture into a file of its own."""

    @abstractmethod
    def size(self, data: bytes) -> int:
        """Return the bytes of a file that count."""

    @abstractmethod
    def decode(self, files: Sequence[bytes], source: Images) -> Iterator[Picture]:
        """Decode with a stock decoder.

        Parameters
        ----------
        files
            What `encode` returned for ``source``.
        source
            The same pictures, filtered as they were encoded.
        """


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def parser(codec: str) -> argparse.ArgumentParser:
    """Return a parser of a coder's options, which raises `InputError`."""
    return _Parser(prog=codec, add_help=False, allow_abbrev=False)
