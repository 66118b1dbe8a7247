"""What a comparison trains, before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vkd.api.networks import check_networks, missing_networks, recipe_of_network, with_checkpoint
from vkd.comparison.runs import Given, Run, is_finished
from vkd.comparison.variants import Variant, safe_name
from vkd.config import FrozenNetwork, TrainingConfig, write_recipe
from vkd.errors import FieldError, UserError
from vkd.places import check_place
from vkd.recipe import changed, config_of, saved_recipe
from vkd.tasks import check_method
from vkd.training.lock import is_new
from vkd.training.optimization import check_training
from vkd.training.run_folder import recipe_difference
from vkd.training.trackers import check_trackers


@dataclass(frozen=True)
class Plan:
    """The runs of a comparison.

    Attributes:
        base: the recipe.
        variants: of it.
        seeds: runs of each variant, by name.
        folder: of the comparison.
        networks: teachers and extractors with the runs that train them.
        given: Python objects in place of names.
    """

    base: TrainingConfig
    variants: list[Variant]
    seeds: dict[str, int]
    folder: Path
    networks: list[tuple[FrozenNetwork, Run]]
    given: Given = field(default_factory=Given)

    def run(self, variant: Variant, seed: int) -> Run:
        """Return a run of a variant; ``seed`` counts from that of the recipe."""
        config, needs = variant.config, []
        for network in missing_networks(config):
            own = next(run for other, run in self.networks if other == network)
            config = with_checkpoint(config, network, own.folder)
            needs.append(own.folder)
        config = replace(config, seed=self.base.seed + seed)
        folder = self.folder / "runs" / f"{safe_name(variant.name)}-{config.seed}"
        return Run(
            name=variant.name, config=config, folder=folder, is_tested=True, needs=tuple(needs),
            given=self.given,
        )  # fmt: skip

    def runs(self) -> list[Run]:
        """Return the runs that are compared, seed by seed."""
        return [
            self.run(variant, seed)
            for seed in range(max(self.seeds.values()))
            for variant in self.variants
            if seed < self.seeds[variant.name]
        ]

    def runs_of(self, variant: Variant) -> list[Run]:
        """Return the runs of a variant by seed."""
        return [self.run(variant, seed) for seed in range(self.seeds[variant.name])]

    def unfinished(self) -> list[Run]:
        """Return the compared runs that have no result yet."""
        return [run for run in self.runs() if not is_finished(run)]

    def networks_for(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs that train what ``runs`` need."""
        needed = {folder for run in runs for folder in run.needs}
        return [run for _, run in self.networks if run.folder in needed]

    def with_changes(self, changes: Mapping[str, Mapping[str, Any]]) -> "Plan":
        """Return the plan whose variants have more fields changed, by name."""
        variants = [item.with_changes(changes.get(item.name, {})) for item in self.variants]
        return replace(self, variants=variants)


def make_plan(
    base: TrainingConfig,
    variants: list[Variant],
    folder: Path,
    seeds: int | Mapping[str, int],
    network_changes: Mapping[str, Any],
    given: Given,
) -> Plan:
    """Return the plan of a comparison, all of whose recipes were checked.

    Args:
        base: the recipe.
        variants: of it.
        folder: of the comparison.
        seeds: runs of each variant, or by its name.
        network_changes: fields of the recipes of teacher and extractor to change.
        given: Python objects in place of names.

    Raises:
        UserError: if something that a recipe names does not exist.
    """
    counts = {v.name: seeds if isinstance(seeds, int) else seeds.get(v.name, 0) for v in variants}
    networks: list[tuple[FrozenNetwork, Run]] = []
    for variant in variants:
        _check(variant)
        for network in missing_networks(variant.config):
            if not any(other == network for other, _ in networks):
                run = _network_run(network, folder, networks, network_changes)
                networks.append((network, run))
    return Plan(base, variants, counts, folder, networks, given)


def _check(variant: Variant) -> None:
    config = variant.config
    check_training(config)
    check_trackers(config.tracker_names)
    check_networks(config)
    try:
        check_method(config)
    except UserError as error:
        raise FieldError("methods", f": {variant.name}: {error}") from None


def _network_run(
    network: FrozenNetwork,
    folder: Path,
    others: Sequence[tuple[FrozenNetwork, Run]],
    changes: Mapping[str, Any],
) -> Run:
    same = sum(other.role == network.role for other, _ in others)
    place = folder / (f"{network.role}-{same + 1}" if same else network.role)
    values = recipe_of_network(network) | {"trackers": ""}
    config = config_of(changed(values, changes))
    return Run(name=network.role, config=config, folder=place, is_tested=True, is_network=True)


def open_folder(folder: Path, base: TrainingConfig) -> None:
    """Make a comparison's folder with its recipe, or check that the one in it is the same.

    Raises:
        FieldError: if the folder holds something else.
    """
    check_place(folder, "output")
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        if folder.exists() and (not folder.is_dir() or not is_new(folder)):
            raise FieldError("output", f"{folder} exists and is no comparison; name a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        write_recipe(base, recipe)
        return
    saved = saved_recipe(str(recipe))
    if saved.task != base.task:
        raise FieldError("output", f"{folder} holds another task; name a new folder.")
    if (folder / "metrics.jsonl").is_file():
        raise FieldError("output", f"{folder} holds a single run; name a new folder.")
    difference = recipe_difference(saved, base)
    if difference:
        name, before, now = difference
        raise FieldError(
            name, f"is {now!r} but the comparison in {folder} has {before!r}; name a new folder."
        )
