"""Configurations: what is compared, in the language of `idse transcode`."""

from __future__ import annotations

import itertools
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from idse.errors import InputError
from idse.pipeline import arguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from idse.pipeline.loading import SteeringOptions
    from idse.pipeline.options import EncodeOptions


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One way to encode, without its rate.

    Attributes
    ----------
    name
        For tables.
    arguments
        Options of `idse transcode`, as on a command line: ``"--no-steer --x264-params aq-mode=2"``.
    filter
        An FFmpeg filter that is run over the source first, as for ``ffmpeg -vf``; judged is always
        against the source as it was. ``"downscale"`` stands for the one that shrinks it to what
        the first judge looks at.
    rates
        CRFs in place of the evaluation's own; empty for those.
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
    filter: str = ""
    rates: tuple[float, ...] = ()
    alone: bool = False
    encode: EncodeOptions = field(init=False, repr=False, compare=False)
    steering: SteeringOptions | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError("a configuration needs a name, as in 'AQ 2: --x264-params aq-mode=2'")
        try:
            args = arguments.parse(self.words)
            encode = arguments.encode_options(args)
            steering = arguments.steering_options(args)
        except InputError as error:
            raise InputError(f"configuration {self.name!r}: {error}") from error
        taken = sorted({"crf", "bitrate", "qp"} & set(encode.options))
        if taken:
            raise InputError(
                f"configuration {self.name!r} sets {taken[0]}, which --rates is for: leave it out"
            )
        object.__setattr__(self, "encode", encode)
        object.__setattr__(self, "steering", steering)

    @cached_property
    def words(self) -> list[str]:
        """The options, one by one."""
        try:
            return shlex.split(self.arguments)
        except ValueError as error:
            raise InputError(f"configuration {self.name!r}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> Configuration:
        """Read ``"NAME: OPTIONS"``."""
        name, separator, options = text.partition(":")
        if not separator or not name.strip() or name.lstrip().startswith("-"):
            raise InputError(
                f"configuration {text!r} is not of the form 'NAME: OPTIONS of idse transcode'"
            )
        return cls(name=name.strip(), arguments=options.strip())


# What a table of a suite may hold, and as what.
_KEYS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "arguments": str,
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
    """Return CRFs in order.

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
    filter
        Filters to try, ``""`` for none.
    """

    x264: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    filter: Sequence[str] = ()

    def variations(self, base: Configuration) -> Iterator[Configuration]:
        """Yield ``base`` with every combination added."""
        names = list(self.x264)
        filters = list(self.filter) or [base.filter]
        for *values, chain in itertools.product(*self.x264.values(), filters):
            added = [f"{name}={value}" for name, value in zip(names, values, strict=True)]
            label = " ".join([*added, *([chain or "no filter"] if self.filter else [])])
            yield Configuration(
                name=label, arguments=_with_params(base.arguments, added), filter=chain
            )


def _with_params(options: str, added: Sequence[str]) -> str:
    """Add x264 options to those that are there."""
    words = shlex.split(options)
    if not added:
        return options
    if "--x264-params" in words:
        at = words.index("--x264-params") + 1
        words[at] = ":".join([words[at], *added])
    else:
        words += ["--x264-params", ":".join(added)]
    return shlex.join(words)


@dataclass(frozen=True, kw_only=True)
class Best:
    """A configuration that is chosen by output distance on other pictures than those reported.

    Attributes
    ----------
    name
        For tables.
    arguments
        Options that all candidates share.
    rates
        CRFs to choose at; empty for the evaluation's own.
    clips, images
        Stages for each kind of source: the best of a stage is what the next one varies.
    """

    name: str
    arguments: str = "--no-steer"
    rates: tuple[float, ...] = ()
    images: tuple[Stage, ...] = ()
    clips: tuple[Stage, ...] = ()
