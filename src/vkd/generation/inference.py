"""Using a trained generator: its metrics, images by class and seed, and its export."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vkd.errors import FieldError, UserError, shortened
from vkd.files import whole_folder
from vkd.generation.config import GenerationConfig
from vkd.generation.data import read_splits
from vkd.generation.extractors import extract_generated, extract_real, extractor_of
from vkd.generation.metrics import generation_metrics
from vkd.generation.pictures import grid, picture
from vkd.generation.spec import GenerationPrediction
from vkd.generation.task import generator_cost
from vkd.models.biggan import Generator
from vkd.models.checkpoints import Checkpoint, load_checkpoint
from vkd.models.factory import create_model
from vkd.models.metadata import check_count
from vkd.picture_files import save_png
from vkd.places import check_new_file
from vkd.training.spec import NoOptions
from vkd.training.task import Exported, Objects


def evaluate(
    config: GenerationConfig,
    checkpoint: Checkpoint,
    accelerator: Accelerator,
    options: NoOptions,
    objects: Objects,
) -> dict[str, float]:
    """Return the metrics of a checkpoint against the test images, and its cost.

    Raises:
        UserError: if the checkpoint or the extractor's does not fit.
    """
    model = load_generator(config, checkpoint, objects)
    splits = objects.data or read_splits(config)
    # A run trains its own extractor beside its weights.
    beside = checkpoint.file.parent / "extractor"
    weights = str(beside) if beside.is_dir() else config.extractor_checkpoint
    extractor = extractor_of(config.extractor, weights, splits.channels)
    network = accelerator.prepare(model).eval()
    began = time.perf_counter()
    generated = extract_generated(extractor, network, model, config.samples, accelerator)
    speed = config.samples / (time.perf_counter() - began)
    real = extract_real(extractor, splits.test, len(splits.classes), accelerator)
    metrics = generation_metrics(real, generated, config.extractor)
    return metrics | generator_cost(model) | {"images_per_second": speed}


def load_generator(
    config: GenerationConfig, checkpoint: Checkpoint, objects: Objects | None = None
) -> Generator:
    """Return the generator of a checkpoint.

    Raises:
        UserError: if it is none.
    """
    if checkpoint.network is not None:
        raise UserError(
            f"{shortened(checkpoint.file, 120)} is an exported generator, which ONNX Runtime runs; "
            "name its weights or run folder."
        )
    if objects is not None and objects.student is not None:
        model = load_checkpoint(objects.student, checkpoint)
    else:
        model = create_model(config.student, checkpoint)
    if not isinstance(model, Generator):
        raise UserError(f"{checkpoint.file} holds no generator.")
    return model


def predict(
    config: GenerationConfig,
    checkpoint: Checkpoint,
    images: list[str],
    options: GenerationPrediction,
    objects: Objects,
) -> list[dict[str, Any]]:
    """Generate images, as one picture with a row for each class, or as files in a folder.

    Returns:
        A record for each file: its path and classes.

    Raises:
        UserError: for an unknown class, or if a file is there already.
    """
    if images:
        raise UserError(f"IMAGE has no meaning for a generator, found {images[0]}.")
    if not options.output:
        raise FieldError("output", "must be a new PNG file or folder, as images are generated.")
    target = Path(options.output)
    check_new_file(target, "output")
    model = load_generator(config, checkpoint, objects).eval()
    names = checkpoint.classes or [str(label) for label in range(model.num_classes)]
    check_count(names, model.num_classes, "classes", checkpoint.file)
    chosen = _chosen(options.classes, names)
    labels = torch.tensor(chosen).repeat_interleave(options.count)
    generated = _generate(model, labels, options.seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".png":
        save_png(grid(generated, options.count), target)
        return [{"image": str(target), "classes": [names[label] for label in chosen]}]
    records = []
    with whole_folder(target, shared=False) as place:
        for index, (image, label) in enumerate(zip(generated, labels.tolist(), strict=True)):
            name = f"{label:03d}-{index % options.count:05d}.png"
            save_png(picture(image), place / name)
            records.append({"image": str(target / name), "class": names[label]})
    return records


@torch.no_grad()
def _generate(model: Generator, labels: Tensor, seed: int) -> Tensor:
    noise = model.draw(len(labels), torch.Generator().manual_seed(seed))
    parts = zip(noise.split(250), labels.split(250), strict=True)
    return torch.cat([model(*part) for part in parts])


def _chosen(classes: str, names: list[str]) -> list[int]:
    if not classes:
        return list(range(len(names)))
    chosen = []
    for word in classes.split(","):
        if word in names:
            chosen.append(names.index(word))
        elif word.isdecimal() and int(word) < len(names):
            chosen.append(int(word))
        else:
            raise FieldError(
                "classes", f"has no class {word!r}; there are {', '.join(names[:20])}."
            )
    return chosen


def export_inputs(
    config: GenerationConfig, checkpoint: Checkpoint, size: tuple[int, int], objects: Objects
) -> Exported:
    """Return the generator with its classes.

    Raises:
        FieldError: if a size is given.
    """
    for name, side in zip(("height", "width"), size, strict=True):
        if side:
            raise FieldError(name, f"has no meaning for a generator, found {side}.")
    model = load_generator(config, checkpoint, objects)
    labels = torch.tensor([0, model.num_classes - 1])
    inputs = {"noise": torch.zeros(2, model.noise_dim), "labels": labels}
    metadata = {"classes": json.dumps(checkpoint.classes)} if checkpoint.classes else {}
    no_int8 = "its images come of noise, so there are no pictures to calibrate it with"
    return Exported(model, inputs, ["images"], metadata, no_int8=no_int8)
