"""Each variant's weight, chosen on the validation split alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

from vkd.comparison.plan import Plan
from vkd.comparison.runner import Runner
from vkd.comparison.runs import Result, Run
from vkd.comparison.variants import Variant, safe_name, tuned_field
from vkd.errors import RunError
from vkd.files import write_json
from vkd.ranges import require_range
from vkd.tasks import metric_of

# The variant's own value comes first, and so is kept where another is no better.
_WEIGHT_FACTORS = (1.0, 0.3, 3.0, 0.1, 10.0)
_RATE_FACTORS = (1.0, 0.5, 2.0, 0.25, 4.0)
# Tuning seeds start here, after all seeds of the comparison.
FIRST_SEED = 100


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How settings are chosen.

    Attributes:
        seeds: runs of each candidate; their validation metrics are averaged.
        epochs: of these runs; 0 for the recipe's own.
        candidates: changes of fields to try, by variant; for others a grid of factors of the
            weight, or of lr where nothing is distilled.
    """

    seeds: int = 1
    epochs: int = 0
    candidates: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_range("tune_seeds", self.seeds, 1, 1000)
        require_range("tune_epochs", self.epochs, 0, 10**6)


@dataclass(frozen=True)
class Trial:
    """A candidate of a variant with its validation metric of each seed; none where it diverged."""

    variant: str
    changes: dict[str, Any]
    validation: list[float]


def candidates(variant: Variant, tuning: Tuning) -> list[dict[str, Any]]:
    """Return the changes to try for a variant."""
    if variant.name in tuning.candidates:
        return [dict(changes) for changes in tuning.candidates[variant.name]]
    name = tuned_field(variant.config)
    factors = _RATE_FACTORS if name == "lr" else _WEIGHT_FACTORS
    own = asdict(variant.config)[name]
    # Rounded, as 0.1 * 3 would show as 0.30000000000000004.
    return [{name: float(f"{own * factor:.6g}")} for factor in factors]


def trial_runs(plan: Plan, tuning: Tuning) -> list[tuple[Variant, dict[str, Any], list[Run]]]:
    """Return the runs of every candidate of every variant."""
    found = []
    for variant in plan.variants:
        for changes in candidates(variant, tuning):
            shape = changes | _schedule(variant, tuning.epochs)
            tried = variant.with_changes(shape)
            runs = [_trial_run(plan, tried, changes, seed) for seed in range(tuning.seeds)]
            found.append((variant, changes, runs))
    return found


def tune(plan: Plan, tuning: Tuning, runner: Runner) -> list[Trial]:
    """Carry out the trials and return them; ``tuning.json`` keeps them."""
    chosen = trial_runs(plan, tuning)
    runs = [run for _, _, group in chosen for run in group]
    # Of each candidate the first seed first: all get their turn before any gets another.
    runs.sort(key=lambda run: run.config.seed)
    runner.carry_out([*plan.networks_for(runs), *runs], plan.unfinished())
    metric = metric_of(plan.base)
    trials = [
        Trial(variant.name, changes, _scores(runner.carry_out(group), metric.name))
        for variant, changes, group in chosen
    ]
    content = {
        "metric": metric.name,
        "split": "validation",
        "seeds": [plan.base.seed + FIRST_SEED + seed for seed in range(tuning.seeds)],
        "epochs": tuning.epochs or plan.base.epochs,
        "trials": [asdict(trial) for trial in trials],
        "chosen": best_changes(trials, metric.lower_is_better),
    }
    write_json(plan.folder / "tuning.json", content)
    return trials


def best_changes(trials: Sequence[Trial], lower_is_better: bool) -> dict[str, dict[str, Any]]:
    """Return the changes of each variant with the best mean; of equal ones the first.

    Raises:
        RunError: if all trials of a variant diverged.
    """
    best: dict[str, tuple[float, dict[str, Any]]] = {}
    for trial in trials:
        if not trial.validation:
            continue
        score = fmean(trial.validation) * (-1 if lower_is_better else 1)
        if trial.variant not in best or score > best[trial.variant][0]:
            best[trial.variant] = (score, trial.changes)
    for trial in trials:
        if trial.variant not in best:
            raise RunError(f"Every candidate of {trial.variant} diverged; lower its lr or weight.")
    return {name: changes for name, (_, changes) in best.items()}


def _schedule(variant: Variant, epochs: int) -> dict[str, Any]:
    if not epochs:
        return {}
    return {"epochs": epochs, "warmup_epochs": min(variant.config.warmup_epochs, epochs - 1)}


def _trial_run(plan: Plan, variant: Variant, changes: Mapping[str, Any], seed: int) -> Run:
    run = plan.run(variant, FIRST_SEED + seed)
    text = "-".join(f"{name}-{value}" for name, value in changes.items())
    name = safe_name(f"{variant.name}-{text}-{run.config.seed}")
    return replace(run, folder=plan.folder / "tuning" / name, is_tested=False, may_fail=True)


def _scores(results: Sequence[Result], metric: str) -> list[float]:
    if any(result.failure for result in results):
        return []
    return [result.validation[metric] for result in results]
