"""A question of docs/evidence.md: what is trained for it, and how its answer is found."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import vkd
from vkd.comparison.compare import tune_methods
from vkd.comparison.tuning import Trial, Tuning, best_changes
from vkd.recipe import as_config
from vkd.reporting.environment import environment
from vkd.reporting.statistics import Interval, mean_text, paired_interval
from vkd.tasks import metric_of
from vkd.training.records import read_metrics
from vkd.training.similarities import AFTER, BEFORE, read_similarities

Changes = Mapping[str, Any]
# What the test split says, by method, seed and metric; and what ``looked_at`` finds.
Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
# Of a classifier's state; that of an orthogonal projection is no matrix that it applies.
_LINEAR = "methods.feature.loss.projection.weight"
# The name of a projection that is the only one of its run.
ONLY = "weight"
# What is kept of the epochs that have a checkpoint.
CONDITIONS, EXPLAINED = "conditions", "explained"
_ALONG = {CONDITIONS: "condition", EXPLAINED: "explained, %"}


def tries(name: str, *values: float) -> list[dict[str, Any]]:
    """Return candidates that differ in one field."""
    return [{name: value} for value in values]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A frozen network: its recipe, what is changed in it, and the metric to tell of it."""

    recipe: str
    changes: Changes
    metric: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is compared, on what, and how each method's settings are found.

    Attributes:
        title: of the tables.
        recipe: that every method changes.
        fields: changes that all methods share.
        methods: changes by method.
        reference: the method that others are compared with.
        metrics: to tell, the main figure first; beside those of the test split ``condition`` of
            the projection, and ``cka_before`` and ``cka_after`` training.
        conditions: changes by condition; each has a table of its own.
        of_alone: by condition, changes of ``alone`` where those of the condition need a teacher.
        tuned_at: the condition in which settings are tried.
        alone: the method that trains without a teacher, whose lr is tried first; then all others
            have that lr and try their own candidates. Empty where all have the recipe's lr.
        candidates: changes to try, by method, equally many for each. A method whose best is at an
            edge of these goes on outward until it is not.
        most_trials: of a method.
        settings_of: the question whose settings are taken, in place of trials; empty for none.
        trial_changes: changes in trials alone, for example fewer epochs.
        networks: frozen networks by role, ``teacher`` and ``extractor``.
        own_teachers: whether each seed has a teacher of its own, which is trained with it.
        views: of each image in a store of the teacher; 0 for no store.
        far_off: methods that the figure leaves out, as the others would be a dot beside them.
        along_the_way: whether tables tell of the epochs that have a checkpoint, too.
        seeds: of each method.
    """

    title: str
    recipe: str
    fields: Changes
    methods: Mapping[str, Changes]
    reference: str
    metrics: tuple[str, ...]
    alone: str = ""
    candidates: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    most_trials: int = 8
    settings_of: str = ""
    conditions: Mapping[str, Changes] = field(default_factory=lambda: {"": {}})
    of_alone: Mapping[str, Changes] = field(default_factory=dict)
    tuned_at: str = ""
    trial_changes: Changes = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    own_teachers: bool = False
    views: int = 0
    far_off: tuple[str, ...] = ()
    along_the_way: bool = False
    seeds: int = 5


class Answer:
    """The results of a question, in one file that a later call goes on from.

    Args:
        question: whose.
        file: of the results.
        folder: for runs, which can be lost: what is in the file is not trained again, but for the
            frozen networks.
    """

    def __init__(self, question: Question, file: Path, folder: Path) -> None:
        self.question, self.file, self.folder = question, file, folder
        empty: dict[str, Any] = {
            "chosen": {},
            "networks": {},
            "trials": [],
            "scores": {},
            "places": {},
            "teachers": {},
        }
        before = json.loads(self.file.read_text()) if self.file.is_file() else {}
        own = {"title": question.title, "settings_of": question.settings_of}
        self.found = empty | before | own

    def find(self, seeds: int) -> None:
        """Train what is missing, seed by seed, and keep each seed's scores at once."""
        question = self.question
        self._common: dict[str, Any] = dict(question.fields) | {"device": "cpu"} | self._networks()
        self._tune()
        for seed in range(seeds):
            for condition in question.conditions:
                self._compare(condition, seed)

    def _networks(self) -> dict[str, Any]:
        """The frozen networks' folders, each trained unless it is there; and their store."""
        found: dict[str, Any] = {}
        for role, network in self.question.networks.items():
            folder = self._trained(role, network)
            self.found["networks"][role] = {
                network.metric: vkd.evaluate(str(folder))[network.metric]
            }
            found[f"{role}_checkpoint"] = str(folder)
        if self.question.views:
            store = self.folder / "store"
            fields = dict(self.question.fields) | found
            vkd.cache(
                self.question.recipe, store, views=self.question.views, dtype="float32",
                device="cpu", **fields,
            )  # fmt: skip
            found["teacher_store"] = str(store.absolute())
        self._keep()
        return found

    def _trained(self, name: str, network: Network, **changes: Any) -> Path:
        folder = self.folder / name
        if not (folder / "model.safetensors").is_file():
            vkd.train(
                network.recipe, folder, resume=folder.is_dir(), device="cpu", trackers="",
                **dict(network.changes) | changes,
            )  # fmt: skip
        return folder.absolute()

    def _tune(self) -> None:
        """Choose the lr of training alone, then with it each other method's candidate."""
        question, chosen = self.question, self.found["chosen"]
        if question.settings_of:
            other = json.loads(self.file.with_stem(question.settings_of).read_text())
            chosen |= {
                name: other["chosen"][name] for name in question.methods if name not in chosen
            }
        if question.alone and not chosen:
            chosen |= self._trials({question.alone: question.methods[question.alone]}, {})
            self._keep()
        rate = chosen[question.alone] if question.alone else {}
        others = {name: own for name, own in question.methods.items() if name not in chosen}
        if others:
            found = self._trials(others, rate)
            chosen |= {name: rate | changes for name, changes in found.items()}
        self._keep()

    def _trials(self, methods: Mapping[str, Changes], rate: Changes) -> dict[str, dict[str, Any]]:
        question = self.question
        changes = (
            self._common | dict(question.conditions[question.tuned_at])
            | dict(question.trial_changes) | dict(rate)
        )  # fmt: skip
        changes["evaluate_every"] = changes["epochs"]
        place = self.folder / ("rates" if question.alone in methods else "trials")
        wanted = {name: list(question.candidates[name]) for name in methods}
        trials: list[Trial] = []
        lower = metric_of(as_config(question.recipe, {})).lower_is_better
        while wanted:
            named = {name: methods[name] for name in wanted}
            tuning = Tuning(candidates=wanted)
            trials += tune_methods(question.recipe, named, place, tuning, **changes)
            best = best_changes(trials, lower)
            wanted = _further(trials, best, question.most_trials)
        earlier = [row for row in self.found["trials"] if row["method"] not in methods]
        self.found["trials"] = earlier + [
            {"method": trial.variant, **trial.changes, "validation": trial.validation}
            for trial in trials
        ]
        return best

    def _compare(self, condition: str, seed: int) -> None:
        """Train each method that is missing with a seed and keep what the test split says."""
        question = self.question
        scores = self.found["scores"].setdefault(condition, {})
        missing = [name for name in question.methods if str(seed) not in scores.get(name, {})]
        if not missing:
            return
        # A comparison has two methods; where one is missing, the reference's scores stay.
        trained = missing if len(missing) > 1 else [*missing, question.reference]
        # Methods that were added to a question later are trained in a folder of their own.
        added = missing if len(missing) < len(question.methods) else []
        which = " ".join([str(seed), *added[:1]])
        place = self.folder / "runs" / _slug(condition or "all") / _slug(which)
        changes = self._changes(condition, seed)
        methods = {name: self._method(name, condition) for name in trained}
        results = vkd.compare(
            question.recipe, methods, place, seeds=1, reference=missing[0], **changes
        )
        for name, metrics in results["methods"].items():
            run = place / results["runs"][name][0]
            found = {metric: values[0] for metric, values in metrics.items()} | looked_at(run)
            scores.setdefault(name, {}).setdefault(str(seed), found)
        where, which = environment(), f"{condition} {which}".strip()
        self.found["places"][which] = [where["hardware"], where["date"]]
        self.found["teachers"][which] = _digest(Path(changes["teacher_checkpoint"]))
        self._keep()
        for own in (place / "runs").iterdir():
            shutil.rmtree(own)

    def _changes(self, condition: str, seed: int) -> dict[str, Any]:
        """What all methods share in a condition, with a seed."""
        question = self.question
        changes = self._common | dict(question.conditions[condition]) | {"seed": seed}
        changes["evaluate_every"] = changes["epochs"]
        if question.own_teachers:
            teacher = self._trained(f"teacher-{seed}", question.networks["teacher"], seed=seed)
            changes["teacher_checkpoint"] = str(teacher)
        return changes

    def _method(self, name: str, condition: str) -> dict[str, Any]:
        """A method's own changes in a condition, with the settings that were chosen for it."""
        own = dict(self.question.methods[name]) | self.found["chosen"][name]
        alone = self.question.of_alone.get(condition, {}) if name == self.question.alone else {}
        return own | dict(alone)

    def _keep(self) -> None:
        self.found["environment"] = environment()
        self.found["table"] = self.table()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.found, indent=1) + "\n")

    def table(self) -> list[str]:
        """Return the tables of all conditions in Markdown."""
        lines = []
        for condition, found in self.found["scores"].items():
            scores = {name: found[name] for name in self.question.methods if name in found}
            heading = f"**{condition}**" if condition else ""
            lines += [heading, "", *table(scores, self.question)] if scores else []
            lines += along_the_way(scores) if self.question.along_the_way else []
        return lines


def _digest(teacher: Path) -> str:
    """What tells a teacher from another, such as one that was trained elsewhere."""
    content = (teacher / "model.safetensors").read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def _slug(name: str) -> str:
    return name.replace(" ", "-").replace(",", "")


def _further(
    trials: list[Trial], best: Mapping[str, Changes], most: int
) -> dict[str, list[dict[str, Any]]]:
    """What each method is to try next: nothing, unless its best is at an edge of what it tried."""
    found = {}
    for name, chosen in best.items():
        tried = [trial.changes for trial in trials if trial.variant == name]
        more = [changes for changes in outward(tried, chosen) if changes not in tried]
        if more and len(tried) + len(more) <= most:
            found[name] = more
    return found


def outward(tried: list[dict[str, Any]], best: Changes) -> list[dict[str, Any]]:
    """Return the changes a step beyond the edges of a grid where the best of it lies.

    Each field, or fields that always have the same value, moves alone and by the grid's own factor.
    """
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name in best:
        groups.setdefault(tuple(changes[name] for changes in tried), []).append(name)
    found = []
    for column, names in groups.items():
        values = sorted(set(column))
        own = best[names[0]]
        if len(values) < 2 or own not in (values[0], values[-1]):
            continue
        inner = values[1] if own == values[0] else values[-2]
        found.append(dict(best) | dict.fromkeys(names, float(f"{own * own / inner:.6g}")))
    return found


def looked_at(run: Path) -> dict[str, Any]:
    """Return what a run's folder says beside its metrics: the spectrum of its projection, of
    several the condition number of each and the largest as ``condition``, and how
    like its features are to the teacher's before and after training; after each epoch that a
    checkpoint is kept of what is explained of the teacher, and of a linear projection the condition
    number.
    """
    found: dict[str, Any] = {}
    records = {record["epoch"]: record for record in read_metrics(run)}
    for state in sorted((run / "checkpoints").glob("epoch-*")):
        epoch = int(state.name.removeprefix("epoch-"))
        matrix = load_file(state / "network-0.safetensors").get(_LINEAR)
        if matrix is not None:
            found.setdefault(CONDITIONS, {})[str(epoch)] = _condition(_spectrum(matrix))
        share = records[epoch].get("explained", {}).get("feature")
        if share is not None:
            found.setdefault(EXPLAINED, {})[str(epoch)] = round(100 * share, 3)
    file = run / "projection.safetensors"
    matrices = load_file(file) if file.is_file() else {}
    if ONLY in matrices:
        values = _spectrum(matrices[ONLY])
        found["singular_values"] = [round(value, 5) for value in values]
        found["condition"] = _condition(values)
    elif matrices:
        conditions = {name: _condition(_spectrum(own)) for name, own in matrices.items()}
        found |= {"conditions_of": conditions, "condition": max(conditions.values())}
    for stage in (BEFORE, AFTER):
        similarities = read_similarities(run, stage)
        if similarities is not None and similarities.found:
            found[f"cka_{stage}"] = round(similarities.found[0].cka, 4)
    return found


def _spectrum(matrix: torch.Tensor) -> list[float]:
    return torch.linalg.svdvals(matrix.float()).tolist()


def _condition(singular_values: list[float]) -> float:
    return round(singular_values[0] / singular_values[-1], 4)


def difference(scores: Scores, first: str, second: str, metric: str) -> Interval | None:
    """Return what one method has more of a metric than another, paired by seed, with a 95 %
    interval; None where they share fewer than two seeds.
    """
    seeds = [seed for seed in scores[first] if seed in scores[second]]
    if len(seeds) < 2:
        return None
    pair = [[scores[name][seed][metric] for seed in seeds] for name in (first, second)]
    return paired_interval(*pair)


def differences(scores: Scores, question: Question) -> dict[str, Interval]:
    """Return what the reference has more in the main figure than each other method, where
    ``difference`` finds an interval.
    """
    gaps = {
        name: difference(scores, question.reference, name, question.metrics[0])
        for name in scores
        if name != question.reference
    }
    return {name: gap for name, gap in gaps.items() if gap is not None}


def interval_text(gap: Interval) -> str:
    """Return a difference as tables and figures tell it."""
    return f"{gap.mean:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"


def table(scores: Scores, question: Question) -> list[str]:
    """Return a table in Markdown: each method's mean and deviation over its seeds of each metric,
    and what the reference has more in the first of them, paired by seed, with a 95 % interval.

    Raises:
        ValueError: if no method has a metric.
    """
    for metric in question.metrics:
        if not any(metric in kept for own in scores.values() for kept in own.values()):
            raise ValueError(f"No method has the metric {metric}.")
    gaps = differences(scores, question)
    names = [metric.replace("_", " ") for metric in question.metrics]
    lines = [
        f"| method | {' | '.join(names)} | {question.reference} minus it, {names[0]} | seeds |",
        f"|---|{'---|' * len(names)}---|---|",
    ]
    for name, own in scores.items():
        cells = []
        for metric in question.metrics:
            values = [found[metric] for found in own.values() if metric in found]
            cells.append(mean_text(values))
        text = interval_text(gaps[name]) if name in gaps else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {text} | {len(own)} |")
    return [*lines, ""]


def along_the_way(scores: Scores) -> list[str]:
    """Return a table in Markdown of what ``looked_at`` kept of the epochs that have a checkpoint:
    each method's mean and deviation over its seeds.
    """
    epochs = sorted(
        {
            int(e)
            for own in scores.values()
            for kept in own.values()
            for e in kept.get(EXPLAINED, {})
        }
    )
    if not epochs:
        return []
    heads = [f"epoch {epoch}" for epoch in epochs]
    lines = [f"| method | what | {' | '.join(heads)} |", f"|---|---|{'---|' * len(epochs)}"]
    for name, own in scores.items():
        for what, title in _ALONG.items():
            rows = [kept[what] for kept in own.values() if what in kept]
            if rows:
                cells = [mean_text([row[str(epoch)] for row in rows]) for epoch in epochs]
                lines.append(f"| {name} | {title} | {' | '.join(cells)} |")
    return [*lines, ""]
