"""Curves of a run's epochs and updates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from vkd.reporting.blocks import Block, Drawing, Drawings, Missing, Section, Text
from vkd.reporting.plots import Line, Look, line_chart, looks
from vkd.training.explained import told_share
from vkd.training.records import read_records

Record = dict[str, Any]
Histories = Mapping[str, Sequence[Sequence[Record]]]

_LABELS = {
    "accuracy": "accuracy, %",
    "AP": "AP, %",
    "FID": "FID",
    "frechet_distance": "Frechet distance of the extractor's features",
    "diversity": "diversity, as a share of real images'",
}
_MOST_METRICS = _MOST_TERMS = 6
_MOST_POINTS = 250
# Of a record, beside its terms.
_EPOCH_VALUES = {
    "lr": "learning rate",
    "waiting": "share of time that waits for data",
    "images_per_second": "images a second",
    "gradient_norm": "mean norm of the gradient, before clipping",
    "loss_scale": "loss scale of fp16",
}
_STEP_VALUES = {
    "lr": "learning rate",
    "gradient_norm": "norm of the gradient, before clipping",
    "loss_scale": "loss scale of fp16",
    "waiting": "share of time that waits for data",
    "images_per_second": "images a second",
    "memory_gb": "largest memory so far, GB",
}
# Which change by factors.
_BY_FACTORS = {"loss_scale"}


def metric_curves(histories: Histories, chosen: Mapping[str, Look]) -> list[Drawing]:
    """Return figures of the validation metrics and the training losses of each method's runs."""
    return [
        *(_metric(histories, chosen, name) for name in _metrics(histories)[:_MOST_METRICS]),
        *_terms(_taken(histories, "train"), chosen, "epoch"),
        *_explained(histories, chosen),
    ]


def epoch_section(histories: Histories, chosen: Mapping[str, Look]) -> Section:
    """Return a section of what epochs recorded."""
    blocks: list[Block] = [Drawings(metric_curves(histories, chosen) + [
        _values(histories, chosen, "epoch", name, label)
        for name, label in _EPOCH_VALUES.items()
        if _has(histories, name)
    ])]  # fmt: skip
    metrics = _metrics(histories)
    if len(metrics) > _MOST_METRICS:
        text = f"Drawn are {_MOST_METRICS} of {len(metrics)} metrics; the table above has all."
        blocks.insert(0, Text(text))
    return Section("Curves by epoch", blocks)


def step_section(runs: Mapping[str, Path], chosen: Mapping[str, Look]) -> Section:
    """Return a section of what updates recorded, in at most 250 points a line."""
    blocks: list[Block] = []
    histories: dict[str, list[list[Record]]] = {}
    for name, run in runs.items():
        file = run / "steps.jsonl"
        records = read_records(file, "update") if file.is_file() else []
        if not records:
            blocks.append(Missing(f"Not recorded by {name}: it has no steps.jsonl with records."))
            continue
        group = -(-len(records) // _MOST_POINTS)
        histories[name] = [_thinned(records, group)]
        of_each = f"each point is the mean of {group}" if group > 1 else "all are drawn"
        blocks.append(Text(f"{name}, records: {len(records):,}; {of_each}."))
    if histories:
        drawings = _terms(_taken(histories, "terms", "update"), chosen, "update")
        drawings += [
            _values(histories, chosen, "update", name, label)
            for name, label in _STEP_VALUES.items()
            if _has(histories, name)
        ]
        blocks.append(Drawings(drawings))
    return Section("Curves by update", blocks)


def _metrics(histories: Histories) -> list[str]:
    """The names of the validation metrics, the main ones first."""
    found: dict[str, None] = {}
    for runs in histories.values():
        for record in runs[0]:
            found |= dict.fromkeys(record.get("validation", {}))
    return [name for name in _LABELS if name in found] + [n for n in found if n not in _LABELS]


def _metric(histories: Histories, chosen: Mapping[str, Look], name: str) -> Drawing:
    lines = _lines(_taken(histories, "validation"), "epoch", name)
    label = f"validation {_LABELS.get(name, name)}"
    highest = max((max(y) for runs in lines.values() for _, y in runs if y), default=0.0)
    is_share = name == "accuracy" and highest > 0
    limits = (max(0.0, highest - 25), min(100.0, highest + 1.5)) if is_share else (None, None)
    return line_chart(lines, "epoch", label, f"{_capital(label)}.", chosen, limits=limits)


def _taken(histories: Histories, part: str, key: str = "epoch") -> dict[str, list[list[Record]]]:
    """The terms of records as records of their own."""
    return {
        name: [[{key: record[key]} | record.get(part, {}) for record in run] for run in runs]
        for name, runs in histories.items()
    }


def _terms(histories: Histories, chosen: Mapping[str, Look], key: str) -> list[Drawing]:
    """One figure of all loss terms of a single run, or one for each term."""
    names: dict[str, None] = {}
    for runs in histories.values():
        for record in runs[0]:
            names |= dict.fromkeys(name for name in record if name != key)
    if len(histories) == 1 and len(names) > 1:
        (runs,) = histories.values()
        lines = {term: line for term in names for line in _lines({"": runs}, key, term).values()}
        caption = f"Terms of the training loss, weighted, by {key}."
        return [line_chart(lines, key, "training loss", caption, looks(lines), log=True)]
    return [
        line_chart(
            _lines(histories, key, name),
            key,
            "loss, all terms" if name == "loss" else f"{name} loss",
            f"Training loss, {'all terms' if name == 'loss' else f'{name}, weighted'}, by {key}.",
            chosen,
            log=True,
        )
        for name in list(names)[:_MOST_TERMS]
    ]


def _explained(histories: Histories, chosen: Mapping[str, Look]) -> list[Drawing]:
    """A figure of what students explain of their teachers: of a single run each feature loss, of
    several the mean of theirs.
    """
    found = {
        name: [[_in_percent(record) for record in run if record.get("explained")] for run in runs]
        for name, runs in histories.items()
    }
    losses = {loss for runs in found.values() for record in runs[0] for loss in record} - {"epoch"}
    if not losses:
        return []
    label = "share explained, %"
    caption = (
        "Share of the variance of what the student's features are to match that they explain, by "
        "epoch; 0 where they say no more than its mean, -100 where that or less."
    )
    if len(found) == 1 and len(losses) > 1:
        lines = {
            loss: line for loss in sorted(losses) for line in _lines(found, "epoch", loss).values()
        }
        return [line_chart(lines, "epoch", label, caption, looks(lines))]
    means = {
        name: [[_mean_share(record) for record in run] for run in runs]
        for name, runs in found.items()
    }
    return [line_chart(_lines(means, "epoch", "mean"), "epoch", label, caption, chosen)]


def _in_percent(record: Record) -> Record:
    shares = {loss: 100 * told_share(share) for loss, share in record["explained"].items()}
    return {"epoch": record["epoch"]} | shares


def _mean_share(record: Record) -> Record:
    mean = fmean(share for loss, share in record.items() if loss != "epoch")
    return {"epoch": record["epoch"], "mean": mean}


def _values(
    histories: Histories, chosen: Mapping[str, Look], key: str, name: str, label: str
) -> Drawing:
    lines = _lines(histories, key, name)
    caption = f"{_capital(label)}, by {key}."
    if name in _BY_FACTORS:
        return line_chart(lines, key, label, caption, chosen, log=True)
    return line_chart(lines, key, label, caption, chosen, limits=(0, None))


def _has(histories: Histories, name: str) -> bool:
    return any(name in record for runs in histories.values() for run in runs for record in run)


def _lines(histories: Histories, key: str, name: str) -> dict[str, list[Line]]:
    """The finite values ``name`` of each run's records; runs without any are left out."""
    found: dict[str, list[Line]] = {}
    for method, runs in histories.items():
        lines: list[Line] = []
        for run in runs:
            pairs = [(record[key], record.get(name)) for record in run]
            kept = [(at, y) for at, y in pairs if isinstance(y, int | float) and abs(y) < 1e300]
            lines.append(([at for at, _ in kept], [y for _, y in kept]))
        if any(y for _, y in lines):
            found[method] = lines
    return found


def _thinned(records: Sequence[Record], group: int) -> list[Record]:
    """Means of ``group`` records each, at the last of their updates."""
    parts = [records[start : start + group] for start in range(0, len(records), group)]
    return [
        {"update": part[-1]["update"]}
        | {"terms": _means([record.get("terms", {}) for record in part])}
        | _means([{name: record.get(name) for name in _STEP_VALUES} for record in part])
        for part in parts
    ]


def _means(records: Sequence[Record]) -> Record:
    found = {}
    for name in records[-1]:
        values = [record.get(name) for record in records]
        numbers = [value for value in values if isinstance(value, int | float)]
        if numbers:
            found[name] = sum(numbers) / len(numbers)
    return found


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
