"""Detection as the trainer sees it, and its metrics."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vkd.detection.backbone_weights import load_backbone
from vkd.detection.canvases import SIDE
from vkd.detection.coco import CocoImages, detection_loader
from vkd.detection.config import DetectionConfig
from vkd.detection.data import read_detection
from vkd.detection.found import findings_of
from vkd.detection.metrics import average_precision
from vkd.detection.module import DetectionModule
from vkd.detection.postprocess import best_detections, coco_records
from vkd.detection.similarity import similarities_of
from vkd.detection.tokens import TokenLoss, TokenTeacher
from vkd.detection.transforms import DETECTOR_FORMAT
from vkd.errors import FieldError, as_user_error, nearest
from vkd.inputs import InputFormat
from vkd.methods.build import build_method, check_signals
from vkd.methods.method import Method, Sizes
from vkd.models.checkpoints import read_checkpoint
from vkd.models.cost import model_cost
from vkd.models.factory import HUB, create_model
from vkd.models.start import start_from
from vkd.models.vidt.detector import ViDT, ViDTWithoutNeck
from vkd.models.vidt.variants import BODY_OPTIONS, NAMES, NECK_OPTIONS
from vkd.notes import say
from vkd.precision import STATED
from vkd.training.findings import Finding
from vkd.training.reading import read
from vkd.training.similarities import Similarities
from vkd.training.task import Evaluated, Objects, OptimizerStep, Predict, Task

SIZES = ("short_side", "long_side")


class DetectionTask(Task):
    """Binds detector, teacher, images and average precision; see ``Task``.

    Args:
        config: the recipe, with ``teacher_checkpoint`` set where it has a teacher.
        objects: what takes the place of names in the recipe; ``data`` is a dict of ``CocoImages``
            by split, student and teacher are ``ViDT`` detectors.

    Raises:
        UserError: if data or weights are not there or do not fit.
    """

    metric = "AP"

    def __init__(self, config: DetectionConfig, objects: Objects | None = None) -> None:
        objects = objects or Objects()
        self.config = config
        self.splits: dict[str, CocoImages] = objects.data or read_detection(
            config, splits=("train", "validation")
        )
        self.categories = self.splits["train"].categories
        student = objects.student or _student(config, len(self.categories.ids))
        if not isinstance(student, ViDT | ViDTWithoutNeck):
            raise FieldError("student", f"{config.student} is no detector of `vkd models`.")
        if student.num_classes < len(self.categories.ids):
            raise FieldError(
                "student",
                f"has {student.num_classes} classes, and the data have {len(self.categories.ids)}.",
            )
        if config.student_checkpoint:
            with as_user_error("student_checkpoint"):
                start_from(student, config.student, config.student_checkpoint)
        for images in self.splits.values():
            say(images.source, crowded(images, student.backbone.det_token.shape[1]))
        if config.backbone_checkpoint:
            with as_user_error("backbone_checkpoint"):
                load_backbone(student, config.student, config.backbone_checkpoint)
        teacher, token_loss = None, None
        if config.feature_weight:
            teacher = _teacher(config, student, objects)
            dims = cast(ViDT, student).dim, teacher.model.dim
            token_loss = TokenLoss(_method(config, objects), *dims)
        self.steps = [OptimizerStep(DetectionModule(student, config, teacher, token_loss))]
        self._results: DetectionResults | None = None

    def step_teacher(self) -> TokenTeacher | None:
        """Return the teacher of tokens."""
        return cast(DetectionModule, self.steps[0].module).teacher

    def cost(self) -> dict[str, float]:
        """Return parameters and multiply-adds, for images as large as the recipe shows."""
        return detector_cost(self.model, self.config)

    def train_loader(self) -> DataLoader:
        """Return shuffled batches of the training split."""
        return self._loader("train", shuffle=True)

    def validation_loader(self) -> DataLoader:
        """Return batches of the validation split."""
        return self._loader("validation")

    def _loader(self, split: str, shuffle: bool = False) -> DataLoader:
        config = self.config
        return detection_loader(
            self.splits[split], config.batch_size, shuffle, config.workers, config.pins_memory
        )

    def evaluate(
        self, predict: Predict, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return COCO's metrics in %."""
        images, softmax = self.splits["validation"], self._student.softmax
        self._results = evaluate_detector(predict, batches, accelerator, images, softmax)
        return self._results.metrics

    def sample_ids(self, batch: Any) -> Tensor:
        """Return the ids (N,) of a batch's pictures in the clean annotations."""
        return torch.stack([target["image_id"] for target in batch["targets"]])

    def sample_names(self, ids: Sequence[int]) -> list[str]:
        """Return the files of training pictures."""
        pictures = self.splits["train"].coco.imgs
        return [pictures[number]["file_name"] for number in ids]

    def similarities(self, model: Evaluated) -> Similarities:
        """Return how like the student's tokens are to the teacher's, where it has one."""
        module = cast(DetectionModule, self.steps[0].module)
        trained_on = self.config.epochs * len(self.splits["train"])
        return similarities_of(module, self.splits["validation"], trained_on, model)

    def findings(self, model: Evaluated) -> list[Finding]:
        """Return precision by recall and by category, and boxes on pictures."""
        results = self._results
        if results is None or not model.accelerator.is_main_process:
            return []
        return findings_of(self.splits["validation"], results.ground_truth, results.records)

    @property
    def _student(self) -> ViDT | ViDTWithoutNeck:
        return cast(DetectionModule, self.steps[0].module).student

    def metadata(self) -> dict[str, str]:
        """Return what using the weights needs to know: categories and how images are prepared."""
        sizes = {name: vars(self.config)[name] for name in SIZES}
        return {
            "categories": json.dumps(asdict(self.categories)),
            "inputs": json.dumps(DETECTOR_FORMAT.as_dict() | sizes),
            "options": json.dumps(self._student.untold_options()),
        }

    def sources(self) -> dict[str, str]:
        """Return a digest of the training objects, and of the names of their pictures."""
        return {"data_path": truth_digest(self.splits["train"].ground_truth)}

    def take_projections(self, projections: Mapping[str, Tensor]) -> dict[str, str]:
        """Take over those of the sets of tokens: the matrix, scale and shift of each."""
        module = cast(DetectionModule, self.steps[0].module)
        if module.token_loss is None:
            return {}
        taken: dict[str, str] = {}
        for name, method in module.token_loss.losses.items():
            start = f"{name}."
            own = {k.removeprefix(start): v for k, v in projections.items() if k.startswith(start)}
            if "projection" in own and isinstance(method, Method):
                found = method.load_projection(own)
                taken |= {start + p: f"token_loss.losses.{start}{n}" for p, n in found.items()}
        return taken

    def extra_tensors(self, states: list[dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Return the projections of tokens, as they are trained, and their matrices by tokens."""
        module = cast(DetectionModule, self.steps[0].module)
        if module.token_loss is None:
            return {}
        # A method's feature loss is ``loss``; the file's names leave it out, as they always did.
        found = module.state_of("token_loss", states[0])
        trained = {k.replace(".loss.", ".", 1): v for k, v in found.items()}
        return {"token-projections": trained} | _matrices(module, states[0])


def _matrices(module: DetectionModule, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The file ``projection`` with the matrix of each set of tokens, where methods have them."""
    assert module.token_loss is not None
    found: dict[str, Tensor] = {}
    for name, method in module.token_loss.losses.items():
        if isinstance(method, Method):
            own = method.saved_projection(module.state_of(f"token_loss.losses.{name}", state))
            if own:
                found[name] = own["projection"]["weight"]
    return {"projection": found} if found else {}


def truth_digest(truth: dict[str, Any]) -> str:
    """Return a digest of clean ground truth: names of pictures and categories, ids and boxes."""
    found = blake2b(digest_size=16)
    names = {kind: [e["id"] for e in truth[kind]] for kind in ("images", "categories")}
    texts = [e["file_name"] for e in truth["images"]] + [e["name"] for e in truth["categories"]]
    found.update(json.dumps([names, texts]).encode())
    for key in ("image_id", "category_id", "iscrowd", "bbox"):
        # As arrays, since text of a million boxes takes seconds.
        found.update(np.array([a[key] for a in truth["annotations"]], dtype=np.float64).tobytes())
    return found.hexdigest()


def crowded(images: CocoImages, tokens: int) -> list[str]:
    """Return a note where images have more objects than a detector has detection tokens."""
    counts = Counter(
        annotation["image_id"]
        for annotation in images.ground_truth["annotations"]
        if not annotation.get("iscrowd", 0)
    )
    above = [count for count in counts.values() if count > tokens]
    if not above:
        return []
    return [
        f"{len(above):,} images have more objects than the student's {tokens} detection tokens, "
        f"at most {max(above)}, and the surplus cannot be found; set num_det_tokens "
        "(--num-det-tokens)"
    ]


def _student(config: DetectionConfig, num_classes: int) -> nn.Module:
    _check_options(config)
    options: dict[str, Any] = {
        "architecture": config.architecture,
        "num_classes": num_classes,
        "drop_path_rate": config.drop_path,
    }
    if config.num_det_tokens:
        options["num_det_tokens"] = config.num_det_tokens
    if config.architecture == "vidt":
        options |= {
            "fusion": config.fusion,
            "iou_aware": config.iou_weight > 0,
            "token_label": config.token_label_weight > 0,
            "box_refinement": config.box_refinement,
        }
    return create_model(config.student, **options, **config.student_options)


def _check_options(config: DetectionConfig) -> None:
    if config.student not in NAMES:
        raise FieldError("student", f"{config.student} is no detector of `vkd models`.")
    known = BODY_OPTIONS | (NECK_OPTIONS if config.architecture == "vidt" else frozenset())
    for name in config.student_options:
        if name not in known:
            raise FieldError(
                "student_options",
                f"has {name}, which is none of {', '.join(sorted(known))}{nearest(name, known)}",
            )


def _teacher(config: DetectionConfig, student: nn.Module, objects: Objects) -> TokenTeacher:
    model = objects.teacher or _loaded_teacher(config)
    if not isinstance(model, ViDT):
        raise FieldError("teacher", f"{config.teacher} is no ViDT with a neck.")
    own = cast(ViDT, student).num_det_tokens
    if model.num_det_tokens != own:
        raise FieldError(
            "teacher",
            f"{config.teacher} has {model.num_det_tokens} detection tokens, the student "
            f"{config.student} {own}; the numbers must be equal.",
        )
    return TokenTeacher(model, STATED[config.teacher_precision])


def _loaded_teacher(config: DetectionConfig) -> nn.Module:
    if config.teacher_checkpoint == HUB:
        return create_model(config.teacher, HUB)
    read = read_checkpoint(config.teacher_checkpoint)
    own = InputFormat.from_dict(read.inputs) if read.inputs else DETECTOR_FORMAT
    if (own.mean, own.std) != (DETECTOR_FORMAT.mean, DETECTOR_FORMAT.std):
        raise FieldError(
            "teacher_checkpoint",
            f": {config.teacher_checkpoint[-90:]} takes images of mean {own.mean} and std "
            f"{own.std}; a student and its teacher see the same, of mean {DETECTOR_FORMAT.mean}.",
        )
    return create_model(config.teacher, read)


def check_method(config: DetectionConfig) -> None:
    """Raise ``UserError`` for a method that cannot compare detection tokens."""
    if config.needs_teacher:
        with as_user_error("method"):
            check_signals(config.method, set(Method.needs), "detection tokens", many_rows=True)


def _method(config: DetectionConfig, objects: Objects) -> Callable[[Sizes], nn.Module]:
    """What makes the method of one set of tokens; both sides are normalised."""
    if objects.loss is not None:
        return objects.loss
    check_method(config)
    values = config.method_values() | {"both_sides": True}

    def make(sizes: Sizes) -> nn.Module:
        with as_user_error("method_options"):
            return build_method(config.method, sizes, config.method_options, values)

    return make


class DetectionResults(NamedTuple):
    """An evaluation: COCO's ``metrics`` in %, all detections as ``records`` of COCO's results
    format, and the ``ground_truth`` of the images that could be read."""

    metrics: dict[str, float]
    records: list[dict[str, Any]]
    ground_truth: dict[str, Any]


@torch.no_grad()
def evaluate_detector(
    predict: Predict,
    batches: DataLoader,
    accelerator: Accelerator,
    images: CocoImages,
    softmax: bool = False,
) -> DetectionResults:
    """Return COCO's metrics in %, with the detections that they are of.

    Every image counts once, on any number of processes: those that fill the last batches up are
    known by their ids. Images that cannot be read are left out together with their objects, and
    counted as ``skipped`` where there are any.

    Raises:
        FieldError: if no image can be read.
    """
    found: dict[int, list[dict[str, Any]] | None] = {}
    for batch in read(batches):
        with accelerator.autocast():
            outputs = predict(batch["images"])
        targets = batch["targets"]
        sizes = torch.stack([target["original_size"] for target in targets])
        for target, best in zip(
            targets, best_detections(outputs, sizes, softmax=softmax), strict=True
        ):
            image_id = int(target["image_id"])
            records = coco_records([best], [image_id], images.categories.ids)
            found[image_id] = records if target["is_readable"] else None
    everyone: dict[int, list[dict[str, Any]] | None] = {}
    for part in gather_object([found]) if accelerator.num_processes > 1 else [found]:
        everyone |= part
    records = [record for image_id in sorted(everyone) for record in everyone[image_id] or ()]
    skipped = {image_id for image_id, records in everyone.items() if records is None}
    if skipped == set(images.ids):
        raise FieldError("data_path", "has no image to evaluate on that could be read.")
    truth = _without(images.ground_truth, skipped)
    metrics = average_precision(truth, records)
    metrics |= {"skipped": float(len(skipped))} if skipped else {}
    return DetectionResults(metrics, records, truth)


def _without(ground_truth: dict[str, Any], image_ids: set[int]) -> dict[str, Any]:
    """The ground truth of all images but some."""
    if not image_ids:
        return ground_truth
    return ground_truth | {
        "images": [e for e in ground_truth["images"] if e["id"] not in image_ids],
        "annotations": [a for a in ground_truth["annotations"] if a["image_id"] not in image_ids],
    }


def detector_cost(model: nn.Module, config: DetectionConfig) -> dict[str, float]:
    """Return parameters and multiply-adds of a detector for an image of the recipe's size."""
    return model_cost(model, torch.zeros(1, 3, *image_size(config)))


def image_size(config: DetectionConfig) -> tuple[int, int]:
    """Return height and width of a recipe's widest images; of canvases that keep their own."""
    return (config.short_side, config.long_side) if config.short_side else (SIDE, SIDE)
