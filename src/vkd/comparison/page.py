"""The page of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vkd.comparison.results import best_variant, paired_differences, scores, verdict
from vkd.comparison.tables import label_of
from vkd.reporting.blocks import Drawings, Section, Table
from vkd.reporting.curves import metric_curves
from vkd.reporting.grids import sample_section
from vkd.reporting.page import details, write_page
from vkd.reporting.plots import dot_chart, looks
from vkd.reporting.projections import named, orthogonality, projections, spectrum
from vkd.reporting.statistics import mean_text
from vkd.training.records import read_metrics


def write_comparison_page(
    folder: Path,
    results: dict[str, Any],
    *,
    title: str = "",
    lead: str = "",
    titles: Mapping[str, str] | None = None,
    more: Sequence[Section] = (),
) -> Path:
    """Write ``report.html`` in a comparison's folder and return its path.

    Args:
        folder: of the comparison.
        results: what ``vkd.compare`` returned; variants that are left out are not shown.
        title, lead: of the page; made of the results by default.
        titles: of variants, shown in place of their names.
        more: sections to put before the recipes.
    """
    titles = {name: (titles or {}).get(name, name) for name in results["methods"]}
    runs = {titles[name]: [folder / run for run in results["runs"][name]] for name in titles}
    histories = {name: [read_metrics(run) for run in places] for name, places in runs.items()}
    first = {name: places[0] for name, places in runs.items()}
    chosen, weights = looks(histories), named(projections(first))
    label = label_of(results)
    values = {titles[name]: found for name, found in scores(results).items()}
    caption = f"Test split: {label}, of every seed; bars are means."
    drawings = [
        dot_chart(values, chosen, label, caption),
        *metric_curves(histories, chosen),
        *spectrum(weights, chosen if weights.keys() <= chosen.keys() else None),
    ]
    changes = "What each method changes in the recipe"
    sections = [
        Section("Methods, on the test split", [_scores(results, titles)]),
        Section("Curves", [Drawings(drawings)]),
        Section("Tuning, on the validation split", _tuning(results, titles)),
        *more,
        sample_section(first),
        Section("Orthogonality", orthogonality(weights)),
        Section(changes, [_settings(results, titles)]),
        details({"all": yaml.safe_dump(results["recipe"], sort_keys=False)}),
    ]
    dataset = results["recipe"].get("dataset", results["recipe"]["task"])
    title = title or f"Comparison of methods on {dataset}"
    return write_page(folder / "report.html", title, lead or _lead(results, titles), sections)


def _lead(results: dict[str, Any], titles: Mapping[str, str]) -> str:
    counts = {len(values) for values in scores(results).values()}
    seeds = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    text = f"{seeds} seed(s) a method; the best mean has {titles[best_variant(results)]}."
    for name, found in results["networks"].items():
        shown = [f"{key} {found[key]:.2f}" for key in (results["metric"],) if key in found]
        text += f" Test metric of the {name}: {shown[0]}." if shown else ""
    if not paired_differences(results):
        text += " One seed gives no intervals, so nothing here separates the methods."
    return text


def _scores(results: dict[str, Any], titles: Mapping[str, str]) -> Table:
    reference, gaps = results["reference"], paired_differences(results)
    rows = []
    for name, values in scores(results).items():
        row = [titles[name], mean_text(values)]
        if name in gaps:
            gap = gaps[name]
            row += [f"{gap.mean:+.2f}", f"{gap.low:+.2f} to {gap.high:+.2f}"]
            row.append(verdict(gap, results["lower_is_better"]))
        else:
            row += ["", "", "reference" if name == reference else "one seed, no interval"]
        rows.append(row)
    header = [
        "method", label_of(results), f"{titles[reference]} minus it",
        "95 % interval, paired by seed", f"{titles[reference]} is",
    ]  # fmt: skip
    best = list(results["methods"]).index(best_variant(results))
    return Table(f"{label_of(results)} by method", header, rows, best)


def _tuning(results: dict[str, Any], titles: Mapping[str, str]) -> list[Table]:
    if not results["tuning"]:
        return []
    rows = []
    for trial in results["tuning"]:
        values = trial["validation"]
        score = mean_text(values) or "diverged"
        is_chosen = all(
            (results["recipe"] | results["settings"][trial["variant"]])[name] == value
            for name, value in trial["changes"].items()
        )
        row = [titles[trial["variant"]], _text(trial["changes"]), score]
        rows.append([*row, "chosen" if is_chosen else ""])
    header = ["method", "setting", f"validation: {label_of(results)}", "choice"]
    return [Table("Trials of each method", header, rows)]


def _settings(results: dict[str, Any], titles: Mapping[str, str]) -> Table:
    rows = [[title, _text(results["settings"][name])] for name, title in titles.items()]
    return Table("Fields that differ from the recipe", ["method", "fields"], rows)


def _text(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in changes.items()) or "as the recipe"
