"""``vkd.compare``."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from torch import nn

from vkd.api.networks import with_runs_resolved
from vkd.comparison.page import write_comparison_page
from vkd.comparison.plan import Plan, make_plan, open_folder
from vkd.comparison.results import earlier_seconds, results_of, write_results
from vkd.comparison.runner import Runner, default_processes
from vkd.comparison.runs import Given
from vkd.comparison.tuning import FIRST_SEED, Trial, Tuning, best_changes, tune
from vkd.comparison.variants import Methods, reference_of, variants_of
from vkd.config import TrainingConfig
from vkd.errors import FieldError
from vkd.ranges import require_range
from vkd.recipe import as_config
from vkd.tasks import metric_of
from vkd.training.lock import locked


def compare(
    recipe: str | TrainingConfig,
    methods: Methods,
    folder: str | Path = "",
    *,
    seeds: int | Mapping[str, int] = 3,
    reference: str = "",
    tuning: Tuning | bool = False,
    processes: int = 0,
    show: bool = True,
    student: str | Callable[[], nn.Module] | None = None,
    teacher: Any = None,
    data: Any = None,
    network_changes: Mapping[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Train variants of a recipe with several seeds and compare them on the test split.

    ``results.json`` and ``report.html`` are written into the folder. Runs that are finished are not
    repeated, so the same call continues a comparison that was interrupted, or extends it by seeds
    and methods. Runs have no trackers unless ``trackers`` is changed.

    Args:
        recipe: name, YAML file, or config.
        methods: names of methods, ``none`` for training alone; or variants, a dict of the fields
            that each changes, by name.
        folder: of the comparison; ``comparisons/RECIPE`` by default.
        seeds: runs of each variant, or a dict of them by name. Seeds count from the recipe's.
        reference: the variant that paired differences are taken with; the first by default.
        tuning: choose each variant's weight (of training alone the lr) on the validation split
            first; True for the defaults of ``vkd.comparison.tuning.Tuning``.
        processes: runs side by side; 0 for one on each core, or one in all on a GPU. With 1, runs
            are carried out in this process.
        show: print progress.
        student: makes your own student for each run (a class or function), or the name of one.
        teacher: your own network in place of the recipe's, or the name of one.
        data: your own splits, see ``vkd.splits_of``.
        network_changes: fields to change in the recipes of teacher and extractor, which are
            trained once where they have no checkpoint.
        **changes: fields of the recipe to change.

    Returns:
        The content of ``results.json``.

    Raises:
        UserError: if a variant does not suit the recipe, or the folder holds something else.
        RunError: if a training diverges.
    """
    began = monotonic()
    named = {"student": student, "teacher": teacher}
    changes |= {role: name for role, name in named.items() if isinstance(name, str)}
    objects: Any = {role: None if role in changes else part for role, part in named.items()}
    given = Given(**objects, data=data)
    plan = _plan(recipe, methods, folder, seeds, network_changes or {}, changes, given)
    for count in plan.seeds.values():
        # Seeds of tuning begin at 100.
        if not 1 <= count <= FIRST_SEED:
            raise FieldError("seeds", f"must be from 1 to {FIRST_SEED}, found {count}.")
    if len(plan.variants) < 2:
        raise FieldError("methods", f"must be two or more, found {plan.variants[0].name} alone.")
    reference = reference_of(plan.variants, reference)
    metric_of(plan.base)
    _check_processes(processes)
    with locked(plan.folder):
        return _compared(plan, reference, tuning, processes, show, began)


def _compared(
    plan: Plan,
    reference: str,
    tuning: Tuning | bool,
    processes: int,
    show: bool,
    began: float,
) -> dict[str, Any]:
    """Compare in a folder that is locked; see ``compare``."""
    metric = metric_of(plan.base)
    open_folder(plan.folder, plan.base)
    chosen = (Tuning() if tuning else None) if isinstance(tuning, bool) else tuning
    earlier = earlier_seconds(plan.folder)
    plan, trials = _carry_out(plan, chosen, processes, show)
    results = results_of(plan, reference, metric, trials)
    results["seconds"] = round(earlier + monotonic() - began, 1)
    write_results(plan.folder, results)
    write_comparison_page(plan.folder, results)
    return results


def tune_methods(
    recipe: str | TrainingConfig,
    methods: Methods,
    folder: str | Path,
    tuning: Tuning,
    *,
    processes: int = 0,
    show: bool = True,
    **changes: Any,
) -> list[Trial]:
    """Try the candidates of variants and return the trials, without comparing on the test split.

    See ``compare`` for the arguments; the folder's ``tuning.json`` keeps the trials.
    """
    _check_processes(processes)
    plan = _plan(recipe, methods, folder, 0, {}, changes, Given())
    metric_of(plan.base)
    with locked(plan.folder):
        open_folder(plan.folder, plan.base)
        return _carry_out(plan, tuning, processes, show)[1]


def _check_processes(processes: int) -> None:
    require_range("processes", processes, 0, 1024)


def _plan(
    recipe: str | TrainingConfig,
    methods: Methods,
    folder: str | Path,
    seeds: int | Mapping[str, int],
    network_changes: Mapping[str, Any],
    changes: Mapping[str, Any],
    given: Given,
) -> Plan:
    base = with_runs_resolved(as_config(recipe, {"trackers": "", **changes}))
    if base.objects:
        raise FieldError("recipe", f"has objects, {', '.join(base.objects)}, which no file holds.")
    base = replace(base, objects=given.names())
    name = Path(recipe).stem if isinstance(recipe, str) else base.task
    # Whole, as the recipes of the runs name the teacher's folder.
    target = Path(folder or f"comparisons/{name}").absolute()
    return make_plan(base, variants_of(base, methods), target, seeds, network_changes, given)


def _carry_out(
    plan: Plan, tuning: Tuning | None, processes: int, show: bool
) -> tuple[Plan, list[Trial]]:
    trials: list[Trial] = []
    try:
        with Runner(processes or default_processes(plan.base), show) as runner:
            if tuning is not None:
                trials = tune(plan, tuning, runner)
                lower = metric_of(plan.base).lower_is_better
                plan = plan.with_changes(best_changes(trials, lower))
            runs = plan.runs()
            runner.carry_out([*plan.networks_for(runs), *runs])
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted; the same command continues the comparison in {plan.folder}."
        ) from None
    return plan, trials
