"""Plots as inline SVG, so that a report is one file."""

import re
from collections.abc import Iterable
from io import StringIO
from itertools import cycle
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, StrMethodFormatter

STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "font.size": 10,
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "text.parse_math": False,  # names of runs are shown as they are
}
COLOURS = ("#7a7f87", "#c98a2b", "#3f7fbf", "#1d8a5f", "#a1457d", "#5a5fc0", "#b0483d")


def figure_svg(figure: Figure) -> str:
    """Return a figure as an <svg> element."""
    buffer = StringIO()
    # A canvas of its own: pyplot would change the backend of the user's process.
    canvas = FigureCanvasSVG(figure)
    canvas.print_figure(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue().split("?>", 1)[1].split(">", 1)[1].strip()


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.4, 3.3))
    return figure, figure.add_subplot()


def palette(methods: Iterable[str]) -> dict[str, str]:
    """Give each method a colour, which it keeps in every figure of a page."""
    return dict(zip(methods, cycle(COLOURS), strict=False))


def curves(
    runs: dict[str, list[list[dict[str, Any]]]],
    colours: dict[str, str],
    part: str,
    name: str,
    label: str,
) -> str:
    """Plot ``record[part][name]`` over epochs: a line a method, its mean over runs, each run thin.

    Args:
        runs: by method, the records (``metrics.jsonl``) of each of its runs.
        colours: by method, see ``palette``.
        part: train or validation.
        name: the value.
        label: of the vertical axis.
    """
    with rc_context(STYLE):
        figure, axes = _axes()
        tops: list[float] = []
        lowest: list[float] = []
        for method, histories in runs.items():
            colour = colours[method]
            series = [
                {r["epoch"]: r[part][name] for r in history if name in r.get(part, {})}
                for history in histories
            ]
            shared = sorted(set.intersection(*map(set, series)))
            if not shared:
                continue
            for values in series if len(series) > 1 else ():
                axes.plot(shared, [values[epoch] for epoch in shared], color=colour, alpha=0.18)
            mean = [sum(values[epoch] for values in series) / len(series) for epoch in shared]
            axes.plot(shared, mean, color=colour, lw=2, label=method, marker=".")
            tops.append(max(mean))
            lowest.append(min(mean))
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        if name == "accuracy" and tops:
            axes.set_ylim(max(0, max(tops) - 25), min(100, max(tops) + 1.5))
        elif tops and min(lowest) > 0 and part == "train":
            axes.set_yscale("log")
            # The usual ones are formulas, which are shown as they are, too.
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(LogFormatter())
        axes.legend(frameon=False, fontsize=9)
        return figure_svg(figure)


def dots(methods: dict[str, list[float]], colours: dict[str, str], label: str) -> str:
    """Plot each seed as a dot and each method's mean as a bar, of what ``label`` says."""
    with rc_context(STYLE):
        figure, axes = _axes()
        for place, (method, values) in enumerate(methods.items()):
            colour = colours[method]
            axes.hlines(sum(values) / len(values), place - 0.3, place + 0.3, color=colour, lw=3)
            spread = [place + 0.09 * (i - (len(values) - 1) / 2) for i in range(len(values))]
            axes.scatter(spread, values, color=colour, alpha=0.6, s=22, label=method)
        short = [re.split("[:,]", name)[0].replace(" ", "\n") for name in methods]
        axes.set_xticks(range(len(methods)), short)
        axes.set_ylabel(label)
        return figure_svg(figure)


def spectra(values: dict[str, list[float]], colours: dict[str, str]) -> str:
    """Plot the singular values of each method's projection, largest first."""
    with rc_context(STYLE):
        figure, axes = _axes()
        for method, spectrum in values.items():
            places = range(1, len(spectrum) + 1)
            axes.plot(places, spectrum, color=colours[method], lw=2, label=method)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("index")
        axes.set_ylabel("singular value of the projection")
        axes.legend(frameon=False, fontsize=9)
        return figure_svg(figure)
