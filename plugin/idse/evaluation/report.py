"""Results for people: Markdown, and what both files of an evaluation hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from idse.evaluation.results import SEGMENT_SECONDS
from idse.evaluation.table import bd_rate_table, markdown_table, without_nan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from idse.evaluation.configuration import Configuration
    from idse.evaluation.evaluate import Evaluation
    from idse.evaluation.results import Result

_PROTOCOL = """\
BD-rate in percent of the file's bytes against "{anchor}": negative saves bytes at equal accuracy.
Isotonic fit of accuracy over log-rate, integrated over the accuracies that all configurations
reach (each with the anchor, for those marked *), undefined where they share under half. 95 % paired
bootstrap interval over images or blocks, {resamples} resamples; bold is a gain whose interval
leaves 0 out and whose half-width is under half of it. Judges: {judges}. Pseudo-labels are what a
judge finds in the source with a score of at least 0.25. PSNR-Y and MS-SSIM are for the eye.
Decoded by {decoders}.
"""


def markdown(
    found: Evaluation,
    *,
    title: str,
    text: str = "",
    command: str,
    judges: Sequence[str],
) -> str:
    """Return the report.

    Parameters
    ----------
    found
        What came out.
    title, text
        Heading, and a paragraph below it.
    command
        What was run.
    judges
        Names of the networks.
    """
    plan = found.plan
    parts = [f"# {title}\n", f"`{command}`\n"]
    if text:
        parts.append(f"{text}\n")
    resamples = plan.resamples
    named = ", ".join(judges)
    decoders = " and ".join(dict.fromkeys(item.coder.decoder for item in plan.candidates))
    told = {"anchor": plan.anchor, "judges": named, "resamples": resamples, "decoders": decoders}
    parts.append(_PROTOCOL.format(**told))
    rows = [[_marked(item), _described(item)] for item in plan.configurations]
    rows += [[best.name, "chosen for every sample, see there"] for best in plan.best]
    languages = {item.coder.language for item in plan.candidates}
    header = f"options of {min(languages)}" if len(languages) == 1 else "encoder and options"
    parts.append(markdown_table(["configuration", header], rows))
    for result in found.results:
        parts += _section(result, plan.configurations, plan.anchor)
        parts += [f"{choice.markdown()}\n" for choice in found.choices.get(result.sample.name, ())]
    return "\n".join(parts)


def _marked(item: Configuration) -> str:
    return f"{item.name} *" if item.alone else item.name


def _described(item: Configuration) -> str:
    text = f"`{item.command}`" if item.command else "defaults"
    if item.filter:
        text += f", source filtered by `{item.filter}`"
    if item.rates:
        text += f", {item.coder.rate_name} {item.rates[0]:g} to {item.rates[-1]:g}"
    return text


def _section(result: Result, configurations: Sequence[Configuration], anchor: str) -> list[str]:
    marks = {item.name: _marked(item) for item in configurations}
    table = {
        metric: {marks.get(n, n): value for n, value in column.items() if n != anchor}
        for metric, column in result.bd_rate.items()
    }
    parts = [f"## {result.sample.name} ({result.sample.description})\n", bd_rate_table(table)]
    if result.segments:
        rows = []
        for name, values in result.segments.items():
            defined = [(value, n) for n, value in enumerate(values) if not math.isnan(value)]
            told = f"{max(defined)[0]:+.1f} ({_span(result, max(defined)[1])})" if defined else "-"
            best = f"{min(defined)[0]:+.1f}" if defined else "-"
            cost = result.cost.get(name)
            row = [marks.get(name, name), told, best, f"{len(values) - len(defined)}"]
            rows.append([*row, "" if cost is None else f"{cost:.2f}"])
        header = ["", "worst 10 s, distance", "best 10 s", "undefined", "CPU, x anchor"]
        parts.append(markdown_table(header, rows))
    return parts


def _span(result: Result, number: int) -> str:
    start = result.sample.times[0] + number * SEGMENT_SECONDS
    return f"from {start:.0f} s"


def as_json(found: Evaluation, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report for programs, without NaN: null stands for what is undefined."""
    plan = found.plan
    coders = dict.fromkeys(type(item.coder) for item in plan.candidates)
    report = {
        **facts,
        "encoders": [coder.version() for coder in coders],
        "rates": list(plan.rates),
        "configurations": [
            {
                "name": item.name,
                "codec": item.codec,
                "arguments": item.arguments,
                "filter": item.filter,
                "alone": item.alone,
            }
            for item in plan.configurations
        ],
        "chosen": {
            name: {choice.configuration.name: choice.json() for choice in choices}
            for name, choices in found.choices.items()
        },
        "samples": [result.json() for result in found.results],
    }
    cleaned: dict[str, Any] = without_nan(report)
    return cleaned
