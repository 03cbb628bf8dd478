"""Results for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from idse.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from idse.evaluation.bdrate import Estimate


def verdict(estimate: Estimate, *, target: float | None = None) -> str:
    """Return what an estimate shows, in words.

    ``"gain"`` or ``"loss"`` only where the interval leaves 0 out. ``"not resolved"`` where it does
    not and is wider than the effect looked for: half-width over half of ``target`` (percent; the
    estimate itself where None). An interval around 0 that is narrow enough says ``"no change"``.
    A gain whose size is that uncertain is told as ``"gain, size not resolved"``.
    """
    if math.isnan(estimate.percent):
        return "undefined"
    if math.isnan(estimate.low):
        return "no interval"
    half_width = (estimate.high - estimate.low) / 2
    vague = half_width > abs(estimate.percent if target is None else target) / 2
    if estimate.low <= 0 <= estimate.high:
        return "not resolved" if vague else "no change"
    word = "gain" if estimate.percent < 0 else "loss"
    return f"{word}, size not resolved" if vague else word


def cell(estimate: Estimate, *, target: float | None = None) -> str:
    """Return an estimate as a table cell: ``-8.1 [-10.0, -6.2]`` and what is to be said of it."""
    if math.isnan(estimate.percent):
        return f"undefined ({estimate.undefined})"
    word = verdict(estimate, target=target)
    number = f"{estimate.percent:+.1f}"
    if word == "no interval":
        return f"{number} ({estimate.undefined})" if estimate.undefined else number
    text = f"{number} [{estimate.low:+.1f}, {estimate.high:+.1f}]"
    if word == "gain":
        return f"**{text}**"
    return text if word == "loss" else f"{text} {word}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, one line per row; a bar inside a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = [[text.replace("|", "\\|") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped) + "\n"


def bd_rate_table(
    results: Mapping[str, Mapping[str, Estimate]], *, target: float | None = None
) -> str:
    """Return the table of ``{metric: {configuration: estimate}}``: one row per configuration."""
    configurations = list(dict.fromkeys(name for column in results.values() for name in column))
    rows = [
        [
            name,
            *(cell(col[name], target=target) if name in col else "" for col in results.values()),
        ]
        for name in configurations
    ]
    return markdown_table(["BD-rate, %", *results], rows)


def estimates_json(results: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    """Return ``{metric: {configuration: {...}}}`` with verdicts, ready for ``write_results``."""
    return {
        metric: {name: asdict(e) | {"verdict": verdict(e)} for name, e in column.items()}
        for metric, column in results.items()
    }


def without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value of JSON with null for NaN and infinity, which JSON has not."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_results(stem: Path, *, data: Mapping[str, Any], markdown: str) -> None:
    """Write ``stem``.json and ``stem``.md; NaN and infinity, which JSON has not, become null."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(without_nan(dict(data)), indent=1, allow_nan=False)
    write_atomically(stem.with_suffix(".json"), f"{text}\n".encode())
    write_atomically(stem.with_suffix(".md"), markdown.encode())
