"""Distillation as a callback of Lightning, for any ``LightningModule`` as it is.

::

    from vkd.integrations.lightning import DistillationCallback

    distil = DistillationCallback(
        teacher, student="model", student_layer="norm", teacher_layer="layer4"
    )
    lightning.Trainer(callbacks=[distil]).fit(module, data)
"""

from collections.abc import Sequence
from functools import wraps
from typing import Any

from torch import nn

from vkd.distiller import Distiller
from vkd.errors import FieldError, UserError
from vkd.integrations.companion import NAME, Companion, inputs_of_call, split_options
from vkd.teacher import Teacher

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
except ImportError as error:
    raise ImportError(
        "vkd.integrations.lightning needs Lightning: run pip install 'vkd[lightning]'."
    ) from error


class DistillationCallback(Callback):
    """Adds the distillation loss to the loss of a module's ``training_step``.

    While ``fit`` runs, the step is wrapped, as no hook of Lightning may change a loss before it is
    scaled: the module's step runs as written; then the teacher sees what the student was called
    with last, and the weighted loss is added. ``distillation_loss`` is logged, unweighted.

    The projections train inside the module: they are in its ``parameters()``, and in the first
    group of an optimiser that was given fewer. They are saved and resumed as this callback's state;
    a checkpoint's ``state_dict`` is the module's as it would be without the callback, and the
    teacher is not saved. After ``fit`` the module is as it was.

    Args:
        teacher: as ``vkd.Distiller`` takes it.
        student: name of the module's attribute that is the student; empty for the module itself.
        weight: of the distillation loss, 0 or above.
        **options: those of ``vkd.Distiller``: ``student_layer``, ``teacher_layer``, ``layers``,
            ``pool``, ``loss``, ``example`` and so on. ``example`` is the module's
            ``example_input_array`` by default, if it has one.

    Raises:
        TypeError: for options that ``vkd.Distiller`` does not have.
        FieldError: for a negative weight; when ``fit`` begins, for a student that is not there.
        UserError: when ``fit`` begins, for manual optimisation, or a strategy other than one
            device or DDP.
        ValueError: when ``fit`` begins, for layers that do not exist; see ``vkd.Distiller``.
    """

    def __init__(
        self,
        teacher: nn.Module | Teacher | Sequence[nn.Module | Teacher],
        *,
        student: str = "model",
        weight: float = 1.0,
        **options: Any,
    ) -> None:
        if not weight >= 0:
            raise FieldError("weight", f"must be 0 or above, found {weight}.")
        options, unknown = split_options(options)
        if unknown:
            raise TypeError(f"DistillationCallback has no argument {next(iter(unknown))!r}.")
        self.teacher, self.student, self.weight = teacher, student, weight
        self._options = options
        self._distiller: Distiller | None = None
        self._own_step: Any = None
        self._saved: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tap the student, and put the losses into the module."""
        if stage != "fit":
            return
        _require_supported(trainer, pl_module)
        options = dict(self._options)
        if options.get("example") is None:
            options["example"] = pl_module.example_input_array
        student = _submodule(pl_module, self.student)
        self._distiller = Distiller(student, self.teacher, **options)
        if self._saved:
            self._distiller.loss.load_state_dict(self._saved)
        pl_module.add_module(NAME, Companion(self._distiller.loss))
        # A compiled module has a step of its own beside the class's.
        self._own_step = vars(pl_module).get("training_step")
        vars(pl_module)["training_step"] = self._wrapped(pl_module, student, self._distiller)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the module as it was."""
        if self._distiller is None:
            return
        self._saved = self.state_dict()
        self._distiller.close()
        self._distiller = None
        delattr(pl_module, NAME)
        self._watch.remove()
        del vars(pl_module)["training_step"]
        if self._own_step is not None:
            vars(pl_module)["training_step"] = self._own_step

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the module as it was, as ``teardown`` is not called then."""
        self.teardown(trainer, pl_module, "fit")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the optimiser the projections that it was not made with."""
        groups = trainer.optimizers[0].param_groups
        known = {id(parameter) for group in groups for parameter in group["params"]}
        losses = getattr(pl_module, NAME)
        # Not as a group of their own, of which schedulers that were made before would not know.
        groups[0]["params"] += [part for part in losses.parameters() if id(part) not in known]

    def state_dict(self) -> dict[str, Any]:
        """Return the projections."""
        return self._saved if self._distiller is None else self._distiller.loss.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the projections, now or when ``fit`` begins."""
        self._saved = state_dict
        if self._distiller is not None:
            self._distiller.loss.load_state_dict(state_dict)

    def _wrapped(self, module: LightningModule, student: nn.Module, distiller: Distiller) -> Any:
        step = module.training_step
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls[:] = [(args, kwargs)]

        self._watch = student.register_forward_pre_hook(keep, with_kwargs=True)

        @wraps(step)
        def training_step(*args: Any, **kwargs: Any) -> Any:
            calls.clear()
            output = step(*args, **kwargs)
            if output is None:  # which skips the step
                return None
            if not calls:
                raise UserError(
                    f"training_step of {type(module).__name__} did not call its student "
                    f"{self.student!r}, so that there are no features to distil; name another "
                    "with student=."
                )
            distillation = distiller.compare(inputs_of_call(*calls.pop()))
            module.log("distillation_loss", distillation)
            return _added(output, self.weight * distillation)

        return training_step


def _added(output: Any, loss: Any) -> Any:
    """The output of a training step, a loss or a dict with one, with ``loss`` added to it."""
    return {**output, "loss": output["loss"] + loss} if isinstance(output, dict) else output + loss


def _submodule(module: LightningModule, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError:
        known = ", ".join(child for child, _ in module.named_children()) or "none"
        raise FieldError(
            "student",
            f"must name a submodule of {type(module).__name__}, found {name!r}; it has: "
            f"{known[:120]}.",
        ) from None


def _require_supported(trainer: Trainer, module: LightningModule) -> None:
    if not module.automatic_optimization:
        raise UserError(
            f"{type(module).__name__} optimises by hand, so that DistillationCallback cannot add "
            "to its loss; use vkd.Distiller in its training_step."
        )
    strategy = trainer.strategy
    is_known = isinstance(strategy, SingleDeviceStrategy | DDPStrategy)
    if not is_known or isinstance(strategy, DeepSpeedStrategy):  # which is derived from DDP's
        raise UserError(
            "DistillationCallback works on one device and with DDP, found the strategy "
            f"{type(strategy).__name__}."
        )
