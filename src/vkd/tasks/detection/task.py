"""Detection as the trainer sees it, and its metrics."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vkd.config import DetectionConfig
from vkd.data.coco import (
    Categories,
    CocoImages,
    categories_of,
    detection_loader,
    read_coco,
)
from vkd.data.detection_transforms import detection_training_transform, detection_transform
from vkd.data.digits_detection import read_digit_canvases
from vkd.detection.distillation import TokenTeacher
from vkd.detection.metrics import average_precision
from vkd.detection.predictions import best_detections, coco_records
from vkd.errors import UserError
from vkd.models import create_model, read_metadata
from vkd.models.vidt.detector import ViDT, ViDTWithoutNeck
from vkd.models.vidt.starting import load_backbone
from vkd.reporting.model_card import model_facts
from vkd.tasks.detection.module import DetectionModule
from vkd.training.task import Task, Turn


class DetectionTask(Task):
    """Binds detector, teacher, images and average precision; see ``Task``.

    Args:
        config: the recipe, with ``teacher_checkpoint`` set where it has a teacher.

    Raises:
        UserError: if data or weights are not there or do not fit.
    """

    metric = "AP"

    def __init__(self, config: DetectionConfig) -> None:
        self.config = config
        self.splits = read_detection(config, splits=("train", "validation"))
        self.categories = self.splits["train"].categories
        self.model = create_model(
            config.student, **student_options(config, len(self.categories.ids))
        )
        if not isinstance(self.model, ViDT | ViDTWithoutNeck):
            raise UserError(f"--student {config.student} is no detector of `vkd models`.")
        if config.backbone_checkpoint:
            load_backbone(self.model, config.student, config.backbone_checkpoint)
        self.module = DetectionModule(self.model, config, self._teacher())
        self.turns = [Turn(self.module)]

    def _teacher(self) -> TokenTeacher | None:
        config = self.config
        if not config.feature_weight:
            return None
        model = create_model(config.teacher, config.teacher_checkpoint)
        if not isinstance(model, ViDT):
            raise UserError(f"--teacher {config.teacher} is no ViDT with a neck.")
        if model.num_det_tokens != self.model.num_det_tokens:
            raise UserError(
                f"--teacher {config.teacher} has {model.num_det_tokens} detection tokens, "
                f"--student {config.student} {self.model.num_det_tokens}; they must be as many."
            )
        return TokenTeacher(model)

    def facts(self) -> dict[str, float]:
        """Sizes of the model, for images as large as the recipe shows."""
        return detector_facts(self.model, self.config)

    def train_loader(self) -> DataLoader:
        """Shuffled batches of the training split."""
        config = self.config
        return detection_loader(self.splits["train"], config.batch_size, True, config.workers)

    def validation_loader(self) -> DataLoader:
        """Batches of the validation split."""
        config = self.config
        return detection_loader(self.splits["validation"], config.batch_size, False, config.workers)

    def evaluate(
        self, model: nn.Module, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return COCO's metrics in %."""
        return evaluate_detector(model, batches, accelerator, self.splits["validation"])[0]

    def metadata(self) -> dict[str, str]:
        """What using the weights needs to know: names and ids of categories."""
        return {"categories": json.dumps(asdict(self.categories))}

    def extra_state(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """The projections of tokens, as they are trained."""
        prefix = "token_loss."
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        return {"token-projections": found} if found else {}


def student_options(config: DetectionConfig, num_classes: int) -> dict[str, Any]:
    """Return the keyword arguments of a recipe's student."""
    options: dict[str, Any] = {
        "method": config.method,
        "num_classes": num_classes,
        "drop_path_rate": config.drop_path,
    }
    if config.method == "vidt":
        options |= {
            "fusion": config.fusion,
            "iou_aware": config.iou_weight > 0,
            "token_label": config.token_label_weight > 0,
            "box_refinement": config.box_refinement,
        }
    return options


def read_detection(
    config: DetectionConfig,
    categories: Categories | None = None,
    splits: tuple[str, ...] = ("test",),
) -> dict[str, CocoImages]:
    """Return splits of a recipe's data; of COCO, validation and test are both ``val``.

    Args:
        config: the recipe.
        categories: of a trained detector; those of the data when left out.
        splits: of train, validation and test.

    Raises:
        UserError: if data are not there, or hold categories that the detector does not know.
    """
    transforms = {
        "train": detection_training_transform(
            config.augmentation, config.short_side, config.long_side
        )
    }
    plain = detection_transform(config.short_side, config.long_side)
    if config.dataset == "digits-detection":
        canvases = read_digit_canvases(transforms["train"], plain)
        return {split: canvases[split] for split in splits}
    found = {}
    for split in splits:
        folder, truth = read_coco(Path(config.data_path), "train" if split == "train" else "val")
        categories = categories or categories_of(truth, config.num_classes)
        for entry in truth["categories"]:
            if entry["id"] not in categories.labels:
                raise UserError(
                    f"--data-path {config.data_path} has the category {entry['name']!r} (id "
                    f"{entry['id']}), which the {'training split' if len(splits) > 1 else 'model'}"
                    " does not have."
                )
        with_masks = split == "train" and config.token_label_weight > 0
        transform = transforms.get(split, plain)
        found[split] = CocoImages(folder, truth, categories, transform, with_masks)
    return found


@torch.no_grad()
def evaluate_detector(
    model: nn.Module, batches: DataLoader, accelerator: Accelerator, images: CocoImages
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Return COCO's metrics in %, and all detections in COCO's results format.

    Every image counts once, on any number of processes: those that fill the last batches up are
    known by their ids.
    """
    model.eval()
    found: dict[int, list[dict[str, Any]]] = {}
    for batch in batches:
        with accelerator.autocast():
            outputs = model(batch["images"])
        sizes = torch.stack([target["original_size"] for target in batch["targets"]])
        ids = [int(target["image_id"]) for target in batch["targets"]]
        for image_id, best in zip(ids, best_detections(outputs, sizes), strict=True):
            found[image_id] = coco_records([best], [image_id], images.categories.ids)
    everyone: dict[int, list[dict[str, Any]]] = {}
    for part in gather_object([found]) if accelerator.num_processes > 1 else [found]:
        everyone |= part
    records = [record for image_id in sorted(everyone) for record in everyone[image_id]]
    return average_precision(images.ground_truth, records), records


def evaluate(
    config: DetectionConfig, checkpoint: str, accelerator: Accelerator, predictions: str = ""
) -> dict[str, float]:
    """Return the test metrics of a checkpoint, and its sizes.

    Args:
        config: the recipe that it belongs to.
        checkpoint: weights file or run folder.
        accelerator: where to run.
        predictions: file to write all detections to, in COCO's results format.

    Raises:
        UserError: if the checkpoint does not fit, or the file is there already.
    """
    if predictions and Path(predictions).exists():
        raise UserError(f"--predictions {predictions} exists already; name a new file.")
    categories = categories_in(checkpoint)
    images = read_detection(config, categories)["test"]
    model = load_detector(config, checkpoint)
    facts = detector_facts(model, config)
    if not categories:
        images.categories = categories_of(images.ground_truth, model.num_classes)  # type: ignore[arg-type]
    batches = detection_loader(images, config.batch_size, workers=config.workers)
    model, batches = accelerator.prepare(model, batches)
    began = time.perf_counter()
    metrics, records = evaluate_detector(model, batches, accelerator, images)
    speed = len(images) / (time.perf_counter() - began)
    if predictions and accelerator.is_main_process:
        Path(predictions).parent.mkdir(parents=True, exist_ok=True)
        Path(predictions).write_text(json.dumps(records))
    return metrics | facts | {"images_per_second": speed}


def detector_facts(model: nn.Module, config: DetectionConfig) -> dict[str, float]:
    """Return parameters and multiply-adds of a detector for an image of the recipe's size."""
    return model_facts(model, torch.zeros(1, 3, *image_size(config)))


def image_size(config: DetectionConfig) -> tuple[int, int]:
    """Return height and width of a recipe's widest images; of canvases that keep their own, 64."""
    return (config.short_side, config.long_side) if config.short_side else (64, 64)


def load_detector(config: DetectionConfig, checkpoint: str) -> nn.Module:
    """Return the detector of a checkpoint, whose weights tell all options but one."""
    refinement = {} if config.box_refinement else {"box_refinement": False}
    return create_model(config.student, checkpoint, **refinement)


def categories_in(checkpoint: str) -> Categories | None:
    """Return the classes that a checkpoint tells, if it does."""
    saved = read_metadata(checkpoint).get("categories")
    return Categories(**json.loads(saved)) if saved else None
