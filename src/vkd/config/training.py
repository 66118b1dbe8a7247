"""The fields of a recipe that every task has."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, Self

from vkd.errors import FieldError, nearest

# Of NumPy, which is seeded along with Python and torch.
LARGEST_SEED = 2**32 - 1
# Of a whole number that has no smaller one.
_MOST = 10**9

# Which of timm's schedules read a field.
_DECAYING = {
    "decay_epochs": ("step", "wsd", "rsqrt"),
    "decay_rate": ("step", "multistep", "plateau", "poly"),
}


@dataclass(frozen=True)
class FrozenNetwork:
    """A network that a run needs and does not train.

    Attributes:
        role: what it is for; the folder in the run folder that it is trained in, and the start of
            the field ROLE_checkpoint.
        name: of the model.
        checkpoint: its weights; empty where ``recipe`` trains it first.
        recipe: how to train it.
        changes: fields of that recipe that are changed.
    """

    role: str
    name: str
    checkpoint: str
    recipe: str
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class TrainingConfig:
    """Fields that every task has.

    Attributes:
        task: which task the recipe belongs to.
        objects: what was given as Python objects, and so cannot be built from the recipe.
        seed: of weights, data order and augmentation.
        deterministic: compute with operations that give the same bits each time, on the same
            machine and versions; slower, and refused where an operation has no such form.
        epochs: passes over the training set.
        batch_size: images per process and step.
        accumulation: steps whose gradients are averaged before the weights change.
        optimizer: any optimiser name of timm.
        beta1: decay of the mean gradient, of optimisers like Adam.
        lr: peak learning rate, for a step of lr_reference_batch images.
        lr_reference_batch: the rate grows with the images of a step, over all processes and
            accumulated batches, divided by this; 0 for a rate that does not depend on them.
        weight_decay: on matrices; never on biases, norms and the parameters of a method.
        decayed: all puts weight_decay on every parameter outside a detector's backbone, too, as
            the paper's release does for ViDT.
        schedule: any schedule name of timm.
        schedule_step: whether the rate changes after every update or every epoch.
        decay_epochs: epochs between the steps of the schedule step, or of the decay that ends wsd
            and rsqrt; 0 for timm's own number.
        decay_rate: what each step multiplies the rate by (step, multistep, plateau), or the power
            of poly.
        warmup_epochs: linear warm-up.
        warmup_lr: learning rate at its start; 0 for a hundredth of lr.
        min_lr: learning rate at the end.
        clip_grad: largest norm of the gradient; 0 for no clipping.
        ema_decay: decay of the averaged weights that are evaluated and saved; 0 for none.
        ema_decay_end: decay at the end of training, which it grows to linearly; 0 for ema_decay.
        mixed_precision: arithmetic of the networks; projections and losses stay in float32.
        device: auto takes CUDA, then MPS, then the CPU.
        compile: compile student, teacher and losses with torch.compile: a graph each.
        channels_last: keep images and convolutions with channels last in memory, which is faster
            on GPUs and on many CPUs.
        workers: processes that load data.
        pin_memory: load into memory that is copied to CUDA devices while they compute.
        checkpoint_every: epochs between checkpoints to resume from; the last is always kept.
        checkpoint_every_steps: updates between further checkpoints, within epochs; 0 for none.
        checkpoint_every_minutes: likewise, by the clock.
        checkpoints_kept: the newest checkpoints that are kept; where one is damaged, the one before
            it serves.
        keep_best: keep the weights of the epoch with the best validation metric, too, in the folder
            best of the run.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        on_failure: what a loss or gradient that is no finite number does. stop ends the run; skip
            leaves the update out, at most 20 in a row; roll-back goes back to the last checkpoint
            and on with other random numbers; auto rolls back where rollbacks is above 0, and else
            stops.
        rollbacks: times to go back to the last checkpoint after an update or an epoch that went
            wrong.
        trackers: experiment trackers, with commas between: tensorboard, wandb, mlflow, trackio,
            comet_ml, aim, clearml, dvclive, swanlab; auto for tensorboard where it is installed;
            empty for none.
        log_every: updates between the records of steps.jsonl; 0 for none.
    """

    task: str
    objects: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    deterministic: bool = False
    epochs: int = 10
    batch_size: int = 64
    accumulation: int = 1
    optimizer: str = "adamw"
    beta1: float = 0.9
    lr: float = 1e-3
    lr_reference_batch: int = 0
    weight_decay: float = 0.05
    decayed: Literal["matrices", "all"] = "matrices"
    schedule: str = "cosine"
    schedule_step: Literal["update", "epoch"] = "update"
    decay_epochs: int = 0
    decay_rate: float = 0.1
    warmup_epochs: int = 0
    warmup_lr: float = 0.0
    min_lr: float = 0.0
    clip_grad: float = 0.0
    ema_decay: float = 0.0
    ema_decay_end: float = 0.0
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    compile: bool = False
    channels_last: bool = False
    workers: int = 0
    pin_memory: bool = True
    checkpoint_every: int = 1
    checkpoint_every_steps: int = 0
    checkpoint_every_minutes: float = 0.0
    checkpoints_kept: int = 2
    keep_best: bool = False
    evaluate_every: int = 1
    on_failure: Literal["auto", "stop", "skip", "roll-back"] = "auto"
    rollbacks: int = 0
    trackers: str = "auto"
    log_every: int = 50

    # The headings of the command's help, each with its fields in the order shown.
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": (),
        "student": (),
        "teacher": (),
        "method": (),
        "optimisation": (
            "epochs", "batch_size", "accumulation", "optimizer", "lr", "lr_reference_batch",
            "min_lr", "schedule", "schedule_step", "decay_epochs", "decay_rate", "warmup_epochs",
            "warmup_lr", "weight_decay", "decayed", "beta1", "clip_grad", "ema_decay",
            "ema_decay_end", "mixed_precision",
        ),
        "run": (
            "seed", "deterministic", "device", "workers", "pin_memory", "compile", "channels_last",
            "evaluate_every", "checkpoint_every", "checkpoint_every_steps",
            "checkpoint_every_minutes", "checkpoints_kept", "keep_best", "on_failure", "rollbacks",
            "trackers", "log_every",
        ),
    }  # fmt: skip
    # Fields of weights to start from, which a run that goes on has no use for.
    STARTS: ClassVar[tuple[str, ...]] = ()
    # The largest whole numbers that fields take, each class those of its own; of others _MOST.
    MOST: ClassVar[dict[str, int]] = {
        "seed": LARGEST_SEED, "batch_size": 1_000_000, "accumulation": 1_000_000, "workers": 1024,
    }  # fmt: skip
    # Former names of fields, which recipes and flags may still use.
    FORMER: ClassVar[dict[str, str]] = {"tensorboard": "trackers"}

    def __post_init__(self) -> None:
        self.require_at_least(
            1, "epochs", "batch_size", "accumulation", "checkpoint_every", "checkpoints_kept",
            "evaluate_every",
        )  # fmt: skip
        self.require_at_least(
            0, "lr", "weight_decay", "warmup_epochs", "warmup_lr", "min_lr", "clip_grad", "workers",
            "rollbacks", "lr_reference_batch", "log_every", "decay_epochs",
            "checkpoint_every_steps", "checkpoint_every_minutes",
        )  # fmt: skip
        self.require_seed("seed")
        self._require_at_most()
        if self.on_failure == "stop":
            self.require_unread({"rollbacks"}, "on_failure stop")
        if self.on_failure == "roll-back":
            self.require("rollbacks", self.rollbacks > 0, "at least 1 with on_failure roll-back")
        self.require("beta1", 0 <= self.beta1 < 1, "from 0 to below 1")
        self.require("ema_decay", 0 <= self.ema_decay < 1, "from 0 to below 1")
        self.require("ema_decay_end", 0 <= self.ema_decay_end <= 1, "from 0 to 1")
        if self.ema_decay_end:
            self.require("ema_decay", self.ema_decay > 0, "above 0 with ema_decay_end")
        self.require("decay_rate", 0 < self.decay_rate <= 1, "above 0 and at most 1")
        self.require("warmup_epochs", self.warmup_epochs < self.epochs, "below epochs")
        for name, schedules in _DECAYING.items():
            if self.schedule not in schedules:
                self.require_unread({name}, f"schedule {self.schedule}")
        if not self.warmup_epochs:
            self.require_unread({"warmup_lr"}, "no warm-up")

    def require(self, name: str, holds: bool, expected: str) -> None:
        """Raise ``FieldError`` with what is ``expected`` of a field, unless it ``holds``."""
        if not holds:
            value = asdict(self)[name]
            raise FieldError(
                name, f"must be {expected}, found {'nothing' if value == '' else value}."
            )

    def require_choice(self, name: str, known: Iterable[str]) -> None:
        """Raise ``FieldError`` with the nearest name for a field that is not ``known``."""
        value, names = asdict(self)[name], list(known)
        if value not in names:
            expected = f"must be one of {', '.join(names)}, found {value}"
            raise FieldError(name, expected + nearest(value, names))

    def require_at_least(self, least: float, *names: str) -> None:
        """Raise ``FieldError`` for a field of ``names`` that is below ``least``."""
        values = asdict(self)
        for name in names:
            self.require(name, values[name] >= least, f"at least {least}")

    def _require_at_most(self) -> None:
        """Raise ``FieldError`` for a whole number above its largest."""
        most: dict[str, int] = {}
        for base in type(self).__mro__:
            most = vars(base).get("MOST", {}) | most
        for item in fields(self):
            if item.type is int:
                largest = most.get(item.name, _MOST)
                self.require(item.name, vars(self)[item.name] <= largest, f"at most {largest:,}")

    def require_seed(self, name: str) -> None:
        """Raise ``FieldError`` for a field that is no seed."""
        holds = 0 <= asdict(self)[name] <= LARGEST_SEED
        self.require(name, holds, f"from 0 to {LARGEST_SEED}")

    def require_unread(self, names: set[str], reader: str) -> None:
        """Raise ``FieldError`` if one of the fields ``names``, which have no effect with
        ``reader``, does not have its default."""
        values, defaults = asdict(self), default_values(type(self))
        for name in sorted(names):
            if values[name] != defaults[name]:
                raise FieldError(
                    name, f"has no effect with {reader}; found {values[name]}, leave it out."
                )

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return recipe fields under today's names, and a note for each that had a former one."""
        values, notes = dict(values), []
        for former, name in cls.FORMER.items():
            if former in values:
                value = cls.upgraded_value(former, values.pop(former))
                notes.append(f"{former} is now {name}; taken as {name}: {value!r}")
                values.setdefault(name, value)
        return values, notes

    @classmethod
    def upgraded_value(cls, former: str, value: Any) -> Any:
        """Return the value of a field that had another name, as its new name takes it."""
        if former == "tensorboard":
            text = str(value).lower()
            if text not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
                raise FieldError(former, f"must be true or false, found {text[:80]}.")
            return "tensorboard" if text in ("true", "yes", "on", "1") else ""
        return value

    def going_on(self) -> Self:
        """Return the config without weights to start from, as a run that goes on has its own."""
        without: dict[str, Any] = dict.fromkeys(self.STARTS, "")
        return replace(self, **without)

    @property
    def pins_memory(self) -> bool:
        """Whether batches are to be loaded into pinned memory, which no CPU has use for."""
        return self.pin_memory and self.device != "cpu"

    @property
    def tracker_names(self) -> list[str]:
        """The trackers, one by one; ``auto`` is TensorBoard where it is installed."""
        names = [name.strip() for name in self.trackers.split(",") if name.strip()]
        found = ["tensorboard"] if find_spec("tensorboard") else []
        return [tracker for name in names for tracker in (found if name == "auto" else [name])]

    def frozen_networks(self) -> list[FrozenNetwork]:
        """Return the networks that the run needs and does not train."""
        return []

    def model_names(self) -> dict[str, str]:
        """Return the names of the models that the run builds, by field."""
        return {}


def default_values(config: type[TrainingConfig]) -> dict[str, Any]:
    """Return the default of every field that has one."""
    found = {}
    for item in fields(config):
        if item.default is not MISSING:
            found[item.name] = item.default
        elif item.default_factory is not MISSING:
            found[item.name] = item.default_factory()
    return found
