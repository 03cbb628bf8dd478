"""Rate-distortion plots: every metric against rate, points as measured and the isotonic curve."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from idse.errors import missing_extra
from idse.evaluation.bdrate import isotonic
from idse.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter
except ImportError as error:  # pragma: no cover - depends on the installation
    raise missing_extra("matplotlib", "eval") from error

_COLUMNS = 3
_SIZE = (4.6, 3.4)  # inches of one plot
_MARKERS = "osD^vP*X<>"
_DOTS = 110


def is_distance(metric: str) -> bool:
    """Tell whether less of a metric is better, so that it is drawn and fitted by its logarithm."""
    return metric.startswith("output distance") or metric == "MS-SSIM"


def plot_curves(
    path: Path, curves: Mapping[str, Mapping[str, Sequence[float]]], *, title: str
) -> None:
    """Draw one picture with a plot per metric.

    Parameters
    ----------
    path
        PNG to write.
    curves
        ``{configuration: {"bytes" or metric: [one value a rate]}}``, as ``Comparison.curves``.
    title
        Heading.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    metrics = [name for name in next(iter(curves.values())) if name != "bytes"]
    rows, columns = math.ceil(len(metrics) / _COLUMNS), min(_COLUMNS, len(metrics))
    figure = Figure(figsize=(_SIZE[0] * columns, _SIZE[1] * rows + 0.9), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, metric in zip(axes, metrics, strict=False):
        _plot(axis, metric, curves)
    for axis in axes[len(metrics) :]:
        axis.set_axis_off()
    figure.suptitle(title)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DOTS)
    write_atomically(path, data.getvalue())


def _plot(axis: Any, metric: str, curves: Mapping[str, Mapping[str, Sequence[float]]]) -> None:  # noqa: ANN401
    colours = mpl.colormaps["tab10" if len(curves) <= 10 else "tab20"]
    for index, (name, values) in enumerate(curves.items()):
        rate, found = np.array(values["bytes"]) / 1000, np.array(values[metric])
        order = np.argsort(rate)
        rate, found = rate[order], found[order]
        colour = colours(index % colours.N)
        marker = _MARKERS[index % len(_MARKERS)]
        axis.plot(rate, found, marker, color=colour, markersize=3.5, label=name)
        axis.plot(rate, _fitted(found, metric), color=colour, linewidth=1)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("kB a picture")
    if is_distance(metric):
        axis.set_yscale("log")
    label = "1 - MS-SSIM" if metric == "MS-SSIM" else metric
    axis.set_title(f"{label}, dB" if metric == "PSNR-Y" else label, fontsize="medium")
    axis.grid(visible=True, which="both", alpha=0.25)


def _fitted(found: np.ndarray[Any, Any], metric: str) -> np.ndarray[Any, Any]:
    """Return the isotonic fit that BD-rates are computed from."""
    if is_distance(metric):
        return np.exp(-isotonic(-np.log(np.maximum(found, 1e-300))))
    return isotonic(found)
