"""Plots as inline SVG, so that a report is one file.

Colours are the page's variables, which follow its light and dark colours; each line also has a
dash pattern and marks of its own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, StrMethodFormatter

from vkd.plain_text import plain
from vkd.reporting.blocks import Drawing

_INK, _GRID = "#1c2430", "#d5dbe3"
_STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "grid.color": _GRID,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "font.size": 11,
    "svg.fonttype": "none",
    "svg.hashsalt": "vkd",
    "font.family": "sans-serif",
    "text.parse_math": False,  # names of runs are shown as they are
}
_VARIABLES = {_INK: "var(--ink)", _GRID: "var(--line)"}
# Of the light page, told apart by people who see fewer colours, too; grey is the first.
_COLOURS = ("#5a616b", "#0072b2", "#b84400", "#007a5a", "#9c3d87", "#7a5d00", "#4a3fae")
_DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 2, 2)))
_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_MOST_MARKS = 12
_MOST_DESCRIBED = 8

Line = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Look:
    """How a line is told from others."""

    colour: str
    dash: Any
    mark: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Give each name a look, which it keeps in every figure of a page."""
    return {
        name: Look(
            _COLOURS[place % len(_COLOURS)],
            _DASHES[place % len(_DASHES)],
            _MARKS[place % len(_MARKS)],
        )
        for place, name in enumerate(names)
    }


class _PlainLog(LogFormatter):
    """Labels as many marks as its base, in numbers without exponents."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def line_chart(
    lines: Mapping[str, Sequence[Line]],
    x: str,
    y: str,
    caption: str,
    chosen: Mapping[str, Look] | None = None,
    *,
    log: bool = False,
    limits: tuple[float | None, float | None] = (None, None),
) -> Drawing:
    """Plot lines by name: the mean of several over the places that all have, each of them thin.

    Args:
        lines: (x, y) of each line, by name.
        x, y: labels of the axes.
        caption: of the figure.
        chosen: looks by name; the first ones by default.
        log: a logarithmic axis, where all values are above 0.
        limits: of the vertical axis.
    """
    chosen = chosen or looks(lines)
    means: dict[str, Line] = {}
    with rc_context(_STYLE):
        figure, axes = _axes()
        for name, runs in lines.items():
            look = chosen[name]
            series = [dict(zip(*run, strict=True)) for run in runs]
            shared = sorted(set.intersection(*map(set, series)))
            if not shared:
                continue
            for values in series if len(series) > 1 else ():
                axes.plot(shared, [values[at] for at in shared], color=look.colour, alpha=0.25)
            mean = [sum(values[at] for values in series) / len(series) for at in shared]
            every = max(1, len(shared) // _MOST_MARKS)
            axes.plot(
                shared, mean, color=look.colour, ls=look.dash, lw=2, label=name,
                marker=look.mark, markevery=every, ms=5,
            )  # fmt: skip
            means[name] = (shared, mean)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        is_whole = all(at == int(at) for places, _ in means.values() for at in places)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=is_whole))
        least = min((min(mean) for _, mean in means.values()), default=0.0)
        if log and least > 0:
            axes.set_yscale("log")
            # The usual ones are formulas, which are shown as they are, too.
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(_PlainLog())
        else:
            axes.set_ylim(*limits)
        if len(chosen) > 1:
            _legend(axes)
        return Drawing(_svg(figure), caption, _described(means, x, y))


def dot_chart(
    methods: Mapping[str, Sequence[float]], chosen: Mapping[str, Look], label: str, caption: str
) -> Drawing:
    """Plot each seed as a mark and each method's mean as a bar, of what ``label`` says."""
    with rc_context(_STYLE):
        figure, axes = _axes()
        for place, (method, values) in enumerate(methods.items()):
            look = chosen[method]
            mean = sum(values) / len(values)
            axes.hlines(mean, place - 0.3, place + 0.3, color=look.colour, lw=3)
            spread = [place + 0.09 * (i - (len(values) - 1) / 2) for i in range(len(values))]
            axes.scatter(spread, values, color=look.colour, alpha=0.8, s=40, marker=look.mark)
        short = [re.split("[:,]", name)[0].replace(" ", "\n") for name in methods]
        axes.set_xticks(range(len(methods)), short)
        axes.set_ylabel(label)
        told = "; ".join(
            f"{name}: {', '.join(f'{value:.4g}' for value in values)}"
            for name, values in list(methods.items())[:_MOST_DESCRIBED]
        )
        return Drawing(_svg(figure), caption, f"Dots of {label} for each seed. {told}.")


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.3, 3.0))
    return figure, figure.add_subplot()


def _legend(axes: Axes) -> None:
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        # Below, where it hides no line.
        axes.legend(
            frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.18),
            ncols=2 if len(handles) > 1 else 1, handlelength=3,
        )  # fmt: skip


def _svg(figure: Figure) -> str:
    """A figure as an <svg> element whose colours are the page's."""
    buffer = StringIO()
    # A canvas of its own: pyplot would change the backend of the user's process.
    canvas = FigureCanvasSVG(figure)
    canvas.print_figure(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    svg = buffer.getvalue().split("?>", 1)[1].split(">", 1)[1].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    # In tags alone, whose quotes no text has: a name that looks like a style stays.
    return plain(re.sub(r'(<[^<>]*) style="([^"]*)"', _with_attributes, svg))


def _with_attributes(tag: re.Match[str]) -> str:
    """A tag with an attribute for each property of its style: a page's policy takes no styles in
    tags."""
    variables = _VARIABLES | {c: f"var(--series-{place})" for place, c in enumerate(_COLOURS)}
    found = tag[1]
    for part in tag[2].split(";"):
        name, _, value = part.partition(":")
        found += f' {name.strip()}="{variables.get(value.strip(), value.strip())}"'
    return found


def _described(means: Mapping[str, Line], x: str, y: str) -> str:
    """What is seen on a line chart, in words."""
    told = [
        f"{name}: from {mean[0]:.4g} at {places[0]:g} to {mean[-1]:.4g} at {places[-1]:g}, "
        f"lowest {min(mean):.4g}, highest {max(mean):.4g}"
        for name, (places, mean) in list(means.items())[:_MOST_DESCRIBED]
    ]
    more = len(means) - len(told)
    rest = f"; and {more} more" if more > 0 else ""
    return f"Line chart of {y} by {x}. {'; '.join(told) or 'No values'}{rest}."
