"""Draw the main figure of every answer: what its reference has more than each other method.

    python benchmarks/evidence/figures.py

Writes docs/images/evidence-QUESTION.svg. Each says, as its description, which numbers it shows.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from answer import QUESTIONS, RESULTS
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from question import Question, Scores, differences, interval_text

from vkd.recipe import as_config
from vkd.reporting.statistics import Interval
from vkd.tasks import metric_of

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_INK, _AHEAD, _BEHIND, _EVEN = "#1c2430", "#0072b2", "#b84400", "#5a616b"
_STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "font.size": 11,
    "text.color": _INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "vkd",
    "font.family": "sans-serif",
    "text.parse_math": False,
}


def described(scores: Mapping[str, Scores], question: Question) -> str:
    """Return the numbers of a figure in words, by which it is known to be up to date."""
    parts = []
    for condition, own in scores.items():
        gaps = differences(own, question)
        numbers = ", ".join(f"{name} {interval_text(gap)}" for name, gap in gaps.items())
        parts.append(f"{condition}: {numbers}" if condition else numbers)
    return f"{question.title}. {question.reference} minus each. " + "; ".join(parts) + "."


def draw(scores: Mapping[str, Scores], question: Question, lower_is_better: bool) -> Figure:
    """Return a panel for each condition: a line for each method, its mean and 95 % interval."""
    panels = {
        condition: {name: gap for name, gap in gaps.items() if name not in question.far_off}
        for condition, own in scores.items()
        if (gaps := differences(own, question))
    }
    rows = max(map(len, panels.values()))
    # Room for the names beside the panels, and for the line below, which one panel alone is too
    # narrow for.
    figure = Figure(figsize=(max(7.2, 2.2 + 3.4 * len(panels)), 1.3 + 0.33 * rows))
    FigureCanvasSVG(figure)
    axes = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    for place, (condition, gaps) in zip(axes, panels.items(), strict=True):
        _panel(place, gaps, lower_is_better)
        place.set_title(condition, fontsize=11)
    metric = question.metrics[0].replace("_", " ")
    better = "left" if lower_is_better else "right"
    figure.supxlabel(
        f"{metric}: {question.reference} minus it ({better} of the line: ahead)", fontsize=11
    )
    figure.tight_layout()
    return figure


def _panel(axes: Axes, gaps: Mapping[str, Interval], lower_is_better: bool) -> None:
    axes.axvline(0, color=_INK, linewidth=1)
    for row, gap in enumerate(gaps.values()):
        low, high = (-gap.high, -gap.low) if lower_is_better else (gap.low, gap.high)
        colour = _AHEAD if low > 0 else _BEHIND if high < 0 else _EVEN
        axes.plot([gap.low, gap.high], [row, row], color=colour, linewidth=2)
        axes.plot(gap.mean, row, "o", color=colour, markersize=6)
    axes.set_yticks(range(len(gaps)), list(gaps))
    axes.set_ylim(len(gaps) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#d5dbe3", linewidth=0.7)
    axes.set_axisbelow(True)


def main() -> None:
    """Draw the figures of all answers that have intervals."""
    for name, question in QUESTIONS.items():
        file = RESULTS / f"{name}.json"
        scores = json.loads(file.read_text())["scores"] if file.is_file() else {}
        if not any(differences(own, question) for own in scores.values()):
            continue
        with rc_context(_STYLE):
            figure = draw(
                scores, question, metric_of(as_config(question.recipe, {})).lower_is_better
            )
            figure.savefig(
                IMAGES / f"evidence-{name}.svg",
                facecolor="white",
                metadata={"Date": None, "Description": described(scores, question)},
            )


if __name__ == "__main__":
    main()
