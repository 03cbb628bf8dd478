"""Configurations: what is compared, each in the language of its encoder."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from idse.errors import InputError
from idse.evaluation.coders import find_coder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from idse.evaluation.coders.base import Coder

DEFAULT_CODEC = "x264"


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One way to encode, without its rate.

    Attributes
    ----------
    name
        For tables.
    arguments
        Options of the encoder, as on a command line; those of `idse transcode` are x264's:
        ``"--no-steer --x264-params aq-mode=2"``.
    codec
        One of ``idse.evaluation.coders.CODECS``.
    filter
        An FFmpeg filter that is run over the source first, as for ``ffmpeg -vf``; judged is always
        against the source as it was. ``"downscale"`` stands for the one that shrinks it to what
        the first judge looks at.
    rates
        In place of the evaluation's own; empty for those.
    alone
        Compare it with the anchor alone, over the accuracies that the two reach: for what reaches
        only a part of what the others do.

    Raises
    ------
    InputError
        The options cannot be read, or set the rate.
    """

    name: str
    arguments: str = ""
    codec: str = DEFAULT_CODEC
    filter: str = ""
    rates: tuple[float, ...] = ()
    alone: bool = False
    coder: Coder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError("a configuration needs a name, as in 'AQ 2: --x264-params aq-mode=2'")
        try:
            coder = find_coder(self.codec).parse(self.words)
        except InputError as error:
            raise InputError(f"configuration {self.name!r}: {error}") from error
        object.__setattr__(self, "coder", coder)

    @cached_property
    def words(self) -> list[str]:
        """The options, one by one."""
        try:
            return shlex.split(self.arguments)
        except ValueError as error:
            raise InputError(f"configuration {self.name!r}: {error}") from error

    @property
    def command(self) -> str:
        """Encoder and options for tables; that `idse transcode` has x264 is not told."""
        words = [*([self.codec] if self.codec != DEFAULT_CODEC else []), self.arguments]
        return " ".join(word for word in words if word)

    @classmethod
    def parse(cls, text: str) -> Configuration:
        """Read ``"NAME: OPTIONS"``, which are x264's, or ``"NAME: CODEC OPTIONS"``."""
        name, separator, options = text.partition(":")
        if not separator or not name.strip() or name.lstrip().startswith("-"):
            raise InputError(
                f"configuration {text!r} is not of the form 'NAME: OPTIONS of idse transcode' or "
                "'NAME: CODEC OPTIONS'"
            )
        codec, _, rest = options.strip().partition(" ")
        if not codec or codec.startswith("-"):
            return cls(name=name.strip(), arguments=options.strip())
        return cls(name=name.strip(), codec=codec, arguments=rest.strip())


# What a table of a suite may hold, and as what.
_KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "arguments": str,
    "codec": str,
    "filter": str,
    "rates": list,
    "alone": bool,
}


def from_table(table: Mapping[str, Any]) -> Configuration:
    """Read a configuration of a suite.

    Raises
    ------
    InputError
        A key is unknown or of the wrong type.
    """
    for key, value in table.items():
        if key not in _KEYS:
            raise InputError(
                f"configuration {table.get('name')!r} has the key {key!r}: known are "
                f"{', '.join(_KEYS)}"
            )
        if not isinstance(value, _KEYS[key]):
            raise InputError(f"configuration {table.get('name')!r}: {key} = {value!r} is no {key}")
    values = dict(table)
    if "rates" in values:
        values["rates"] = checked_rates(values["rates"])
    return Configuration(**{"name": "", **values})


def checked_rates(values: Sequence[Any]) -> tuple[float, ...]:
    """Return rates in order.

    Raises
    ------
    InputError
        They are no numbers, repeat, or are fewer than a BD-rate needs.
    """
    from idse.evaluation.bdrate import MIN_RATES

    try:
        rates = tuple(sorted({float(value) for value in values}))
    except (TypeError, ValueError):
        raise InputError(f"rates {list(values)!r} are not numbers") from None
    if len(rates) < MIN_RATES:
        raise InputError(
            f"rates {', '.join(f'{rate:g}' for rate in rates)}: a BD-rate needs {MIN_RATES} "
            "different ones"
        )
    return rates


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Variations of which the best is kept before the next stage.

    Attributes
    ----------
    x264
        Values to try by name of an x264 option; all combinations are.
    options
        Values to try by name of an option of the encoder, without its dashes; ``True`` and
        ``False`` give a flag and leave it out.
    filter
        Filters to try, ``""`` for none.
    """

    x264: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    filter: Sequence[str] = ()

    def variations(self, base: Configuration) -> Iterator[Configuration]:
        """Yield ``base`` with every combination added."""
        filters = list(self.filter) or [base.filter]
        for given, params, chain in itertools.product(
            _combinations(self.options), _combinations(self.x264), filters
        ):
            added = [f"{name}={value}" for name, value in params.items()]
            label = [*(f"{name}={value}" for name, value in given.items()), *added]
            words = [*_with_params(shlex.split(base.arguments), added), *_words(given)]
            yield replace(
                base,
                name=" ".join([*label, *([chain or "no filter"] if self.filter else [])]),
                arguments=shlex.join(words),
                filter=chain,
            )


def _combinations(choices: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def _words(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield options as on a command line."""
    for name, value in options.items():
        if value is not False:
            yield f"--{name}"
        if not isinstance(value, bool):
            yield str(value)


def _with_params(words: list[str], added: Sequence[str]) -> list[str]:
    """Add x264 options to those that are there."""
    if not added:
        return words
    if "--x264-params" in words:
        at = words.index("--x264-params") + 1
        return [*words[:at], ":".join([words[at], *added]), *words[at + 1 :]]
    return [*words, "--x264-params", ":".join(added)]


@dataclass(frozen=True, kw_only=True)
class Best:
    """A configuration that is chosen by output distance on other pictures than those reported.

    Attributes
    ----------
    name
        For tables.
    codec, arguments
        Encoder, and options that all candidates share.
    rates
        Rates to choose at; empty for the evaluation's own.
    clips, images
        Stages for each kind of source: the best of a stage is what the next one varies.
    """

    name: str
    codec: str = DEFAULT_CODEC
    arguments: str = ""
    rates: tuple[float, ...] = ()
    images: tuple[Stage, ...] = ()
    clips: tuple[Stage, ...] = ()

    @property
    def base(self) -> Configuration:
        """What the first stage varies."""
        return Configuration(name=self.name, codec=self.codec, arguments=self.arguments)
