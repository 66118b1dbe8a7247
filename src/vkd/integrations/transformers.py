"""A ``Trainer`` of Hugging Face transformers that distils features.

::

    from vkd.integrations.transformers import DistillationTrainer

    trainer = DistillationTrainer(
        model, args, train_dataset=data, teacher=teacher, student_layer="vit", teacher_layer="vit"
    )
    trainer.train()
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from vkd.distiller import Distiller
from vkd.errors import FieldError, RunError, UserError
from vkd.features import Inputs
from vkd.integrations.companion import NAME, Companion, inputs_of_call, split_options
from vkd.teacher import Teacher
from vkd.tensor_files import save_tensors

try:
    from safetensors.torch import load_file
    from transformers import PreTrainedModel, Trainer, TrainerCallback
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
except ImportError as error:
    raise ImportError(
        "vkd.integrations.transformers needs transformers: run pip install 'vkd[hugging-face]'."
    ) from error

FILE = "distillation.safetensors"


class DistillationTrainer(Trainer):
    """``Trainer`` whose model learns from the features of a teacher, with or without labels.

    The weighted distillation loss is added to the loss that ``Trainer`` computes from labels, if
    there are any; evaluation is that of ``Trainer``. ``distillation_loss`` is logged beside
    ``loss``: its mean since the last time, of this process, unweighted.

    The projections train inside the model: optimiser, clipping and DistributedDataParallel find
    them there; weight decay spares them. Checkpoints keep them in ``distillation.safetensors``,
    from which ``train(resume_from_checkpoint=...)`` goes on. The model's own files are those of the
    model alone, and after ``train`` it is as it was. The teacher is frozen and not saved.

    What the model is called with, without labels, reaches the teacher, a single input by position;
    images as the model's processor made them, unless ``adapter`` maps them.

    Args:
        *args: those of ``Trainer``.
        teacher: as ``vkd.Distiller`` takes it.
        weight: of the distillation loss, 0 or above.
        example: what the model is called with, to find the numbers of features; by default the
            first two samples of ``train_dataset``, collated.
        **kwargs: those of ``Trainer``, and those of ``vkd.Distiller``: ``student_layer``,
            ``teacher_layer``, ``layers``, ``pool``, ``loss``, ``adapter`` and so on.

    Raises:
        FieldError: for a negative weight, or without ``example`` where data cannot be indexed.
        UserError: for ``model_init``, FSDP, DeepSpeed, or several GPUs in one process.
        ValueError: for layers that do not exist; see ``vkd.Distiller``.
    """

    def __init__(
        self,
        *args: Any,
        teacher: nn.Module | Teacher | Sequence[nn.Module | Teacher],
        weight: float = 1.0,
        example: Inputs | None = None,
        **kwargs: Any,
    ) -> None:
        if not weight >= 0:
            raise FieldError("weight", f"must be 0 or above, found {weight}.")
        options, others = split_options(kwargs)
        super().__init__(*args, **others)
        self._require_supported()
        self.weight = weight
        if example is None:
            example = self._first_samples()
        self.student: nn.Module = self.accelerator.unwrap_model(self.model)
        self.distiller = Distiller(self.student, teacher, example=example, **options)
        self._distillation: Tensor | None = None
        self._logged: list[Tensor] = []
        self.add_callback(_Saving(self.distiller.loss))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train as ``Trainer.train`` does."""
        self.student.add_module(NAME, Companion(self.distiller.loss).to(self.args.device))
        hook = self.student.register_forward_hook(self._compare, with_kwargs=True)
        try:
            return super().train(*args, **kwargs)
        finally:
            hook.remove()
            delattr(self.student, NAME)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss, and the outputs if asked to, with the distillation in training."""
        found: Any = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        term, self._distillation = self._distillation, None
        if term is None:
            return found
        self._logged.append(term.detach())
        if self.args.gradient_accumulation_steps > 1 and self._is_scaled(num_items_in_batch):
            term = term / self.current_gradient_accumulation_steps
        if return_outputs:
            return found[0] + self.weight * term, found[1]
        return found + self.weight * term

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as ``Trainer`` does, with the distillation loss."""
        if "loss" in logs and self._logged:
            logs = {**logs, "distillation_loss": float(torch.stack(self._logged).mean())}
            self._logged.clear()
        super().log(logs, *args, **kwargs)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return the names that ``Trainer`` decays, but those of the projections."""
        names = super().get_decay_parameter_names(model)
        return [name for name in names if NAME not in name.split(".")]

    def _compare(self, model: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        """Compare in the model's call, so that DistributedDataParallel sees the projections."""
        if not model.training:
            return output
        ignored = {*self.label_names, "num_items_in_batch"}
        images = {name: value for name, value in kwargs.items() if name not in ignored}
        with self.accelerator.autocast():
            self._distillation = self.distiller.compare(inputs_of_call(args, images))
        # DistributedDataParallel takes parameters that no output depends on for unused.
        return _with_loss(output, 0 * self._distillation)

    def _is_scaled(self, num_items: Tensor | int | None) -> bool:
        """Whether ``Trainer`` leaves a loss as it is that it accumulates."""
        if self.loss_is_scaled_for_ga is not None:
            return self.loss_is_scaled_for_ga
        by_model = self.model_accepts_loss_kwargs and num_items is not None
        return by_model or self.compute_loss_func is not None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self._load_weights(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        file = Path(resume_from_checkpoint, FILE)
        if not file.is_file():
            raise RunError(
                f"{str(file)[-200:]} is not there, which holds the projections; the checkpoint was "
                "not written by a DistillationTrainer."
            )
        self.distiller.loss.load_state_dict(load_file(file))

    def _load_best_model(self) -> None:
        if not self._load_weights(self.state.best_model_checkpoint):
            super()._load_best_model()

    def _load_weights(self, folder: str | None) -> bool:
        """Load a checkpoint of a model of transformers; False where it is another kind.

        Trainer's own way (5.24) leaves out weights that are saved by former names, as ViT's are,
        and goes on with a warning.
        """
        if folder is None or not isinstance(self.student, PreTrainedModel):
            return False
        saved = type(self.student).from_pretrained(folder, config=self.student.config)
        self.student.load_state_dict(saved.state_dict())
        return True

    def _first_samples(self) -> Inputs:
        data = self.train_dataset
        if not isinstance(data, Dataset) or not hasattr(data, "__len__") or len(data) == 0:
            raise FieldError(
                "example",
                "must be given, as train_dataset has no first samples to find the numbers of "
                f"features with, found {type(data).__name__}.",
            )
        [batch] = list(self.get_eval_dataloader(Subset(data, range(min(2, len(data))))))
        ignored = {*self.label_names, "num_items_in_batch"}
        return inputs_of_call((), {n: value for n, value in batch.items() if n not in ignored})

    def _require_supported(self) -> None:
        found = {
            "model_init, whose models are made too late": self.model_init is not None,
            "FSDP": self.is_fsdp_enabled,
            "DeepSpeed": self.is_deepspeed_enabled,
            f"{self.args.n_gpu} GPUs in one process": self.args.n_gpu > 1,
        }
        for what, is_there in found.items():
            if is_there:
                raise UserError(
                    "DistillationTrainer trains a given model, by a process for each device, found "
                    f"{what}."
                )


class _Saving(TrainerCallback):
    """Keeps the projections in each checkpoint."""

    def __init__(self, losses: nn.Module) -> None:
        self.losses = losses

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.should_save:
            folder = Path(args.output_dir, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
            save_tensors(self.losses.state_dict(), folder / FILE, {})


def _with_loss(output: Any, loss: Tensor) -> Any:
    """The output of a model of transformers with ``loss`` added to its own, if it has one."""
    own = output.get("loss")
    total = loss if own is None else own + loss
    if "loss" in type(output).__dataclass_fields__:
        output["loss"] = total
        return output
    return {**output, "loss": total}
