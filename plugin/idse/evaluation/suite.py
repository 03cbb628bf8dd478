"""Suites: files that say what is compared, those of the package and the user's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from idse.errors import InputError
from idse.evaluation.configuration import (
    DEFAULT_CODEC,
    Best,
    Configuration,
    Stage,
    checked_rates,
    from_table,
)

_KEYS: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "text": str,
    "anchor": str,
    "rates": list,
    "judges": list,
    "sources": list,
    "select": str,
    "pix_fmt": str,
    "configuration": list,
    "best": (dict, list),
}


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What a file of configurations says; None and empty where it says nothing.

    Attributes
    ----------
    title, text
        Heading and a paragraph for the report.
    configurations
        What is compared.
    best
        More of them, which are chosen first.
    anchor
        Name of what the others are compared with.
    rates, judges, sources, select, pix_fmt
        As on the command line, which wins.
    """

    title: str = ""
    text: str = ""
    configurations: tuple[Configuration, ...] = ()
    best: tuple[Best, ...] = ()
    anchor: str | None = None
    rates: tuple[float, ...] = ()
    judges: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    select: str | None = None
    pix_fmt: str | None = None

    def joined(self, other: Suite) -> Suite:
        """Return both as one; what both say, this one says, and equal configurations are one."""
        return Suite(
            title=self.title or other.title,
            text=self.text or other.text,
            configurations=tuple(dict.fromkeys((*self.configurations, *other.configurations))),
            best=(*self.best, *(best for best in other.best if best not in self.best)),
            anchor=self.anchor or other.anchor,
            rates=self.rates or other.rates,
            judges=self.judges or other.judges,
            sources=self.sources or other.sources,
            select=self.select or other.select,
            pix_fmt=self.pix_fmt or other.pix_fmt,
        )


def built_in() -> dict[str, str]:
    """Return the package's suites: name to title."""
    folder = resources.files("idse.evaluation") / "suites"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".toml"))
    return {
        name.removesuffix(".toml"): tomllib.loads((folder / name).read_text("utf-8"))["title"]
        for name in names
    }


def load_suite(name: str) -> Suite:
    """Read a suite.

    Parameters
    ----------
    name
        Of one of the package's suites, or a path.

    Raises
    ------
    InputError
        There is none, or it cannot be read.
    """
    folder = resources.files("idse.evaluation") / "suites"
    packaged = folder / f"{name}.toml"
    try:
        if "/" not in name and packaged.is_file():
            text, base = packaged.read_text("utf-8"), None
        else:
            text, base = Path(name).read_text("utf-8"), Path(name).parent
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(built_in())
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"suite {name!r} is no file, nor one of {known}: {reason}") from error
    try:
        return _suite(tomllib.loads(text), base)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"suite {name} is no TOML: {error}") from error
    except InputError as error:
        raise InputError(f"suite {name}: {error}") from error


def _suite(table: dict[str, Any], base: Path | None) -> Suite:
    for key, value in table.items():
        if key not in _KEYS:
            raise InputError(f"unknown key {key!r}: known are {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]):
            raise InputError(f"{key} = {value!r} is no {key}")
    configurations = []
    for item in table.get("configuration", ()):
        if not isinstance(item, dict):
            raise InputError(f"configuration {item!r} is no table")
        configurations.append(from_table(item))
    best = table.get("best", ())
    sources = [
        str(path if base is None else base / path) for path in map(Path, table.get("sources", ()))
    ]
    return Suite(
        title=table.get("title", ""),
        text=" ".join(table.get("text", "").split()),
        configurations=tuple(configurations),
        best=tuple(map(_best, [best] if isinstance(best, dict) else best)),
        anchor=table.get("anchor"),
        rates=checked_rates(table["rates"]) if "rates" in table else (),
        judges=tuple(map(str, table.get("judges", ()))),
        sources=tuple(sources),
        select=table.get("select"),
        pix_fmt=table.get("pix_fmt"),
    )


def _best(table: Any) -> Best:  # noqa: ANN401 - whatever the file holds
    if not isinstance(table, dict):
        raise InputError(f"best {table!r} is no table")
    unknown = set(table) - {"name", "codec", "arguments", "rates", "images", "clips"}
    if unknown:
        raise InputError(f"best has the unknown key {min(unknown)!r}")
    try:
        stages = {
            kind: tuple(Stage(**stage) for stage in table.get(kind, ()))
            for kind in ("images", "clips")
        }
    except TypeError as error:
        raise InputError(f"a stage of best takes x264, options and filter: {error}") from error
    codec = str(table.get("codec", DEFAULT_CODEC))
    return Best(
        name=str(table.get("name", "best")),
        codec=codec,
        arguments=str(table.get("arguments", "--no-steer" if codec == DEFAULT_CODEC else "")),
        rates=checked_rates(table["rates"]) if "rates" in table else (),
        **stages,
    )
