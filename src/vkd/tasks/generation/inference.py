"""Using a trained generator: images by class and seed, and its export."""

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from vkd.config import GenerationConfig
from vkd.errors import UserError
from vkd.models import create_model, read_metadata
from vkd.models.biggan import Generator


def grid(images: Tensor, columns: int) -> Image.Image:
    """Return images (N, C, H, W) in -1..1 as one picture."""
    return to_pil_image(make_grid((images + 1) / 2, columns, padding=1, pad_value=1.0).clamp(0, 1))


def predict(
    config: GenerationConfig,
    checkpoint: str,
    images: list[str],
    output: str = "samples.png",
    classes: str = "",
    count: int = 8,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Make images, as one picture with a row for each class, or as files in a folder.

    Args:
        config: the recipe that the checkpoint belongs to.
        checkpoint: weights file or run folder.
        images: none, as there is nothing to look at.
        output: new ``.png`` file, or folder.
        classes: names or numbers with commas between; all when empty.
        count: images of each class.
        seed: of the noise.

    Returns:
        A record for each file: its path and classes.

    Raises:
        UserError: for an unknown class, or if a file is there already.
    """
    if images:
        raise UserError(f"IMAGE has no meaning for a generator, found {images[0]}.")
    target = Path(output)
    if target.exists():
        raise UserError(f"--output {target} exists already; name a new file or folder.")
    model = create_model(config.model, checkpoint).eval()
    assert isinstance(model, Generator)
    known = json.loads(read_metadata(checkpoint).get("classes", "null"))
    names = known or [str(label) for label in range(model.num_classes)]
    chosen = _chosen(classes, names)
    labels = torch.tensor(chosen).repeat_interleave(count)
    noise = model.draw(len(labels), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        parts = zip(noise.split(250), labels.split(250), strict=True)
        made = torch.cat([model(*part) for part in parts])
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".png":
        grid(made, count).save(target)
        return [{"image": str(target), "classes": [names[label] for label in chosen]}]
    target.mkdir()
    records = []
    for index, (image, label) in enumerate(zip(made, labels.tolist(), strict=True)):
        file = target / f"{label:03d}-{index % count:05d}.png"
        to_pil_image(((image + 1) / 2).clamp(0, 1)).save(file)
        records.append({"image": str(file), "class": names[label]})
    return records


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
            raise UserError(f"--classes has no class {word!r}; there are {', '.join(names[:20])}.")
    return chosen


def exported(
    config: GenerationConfig, checkpoint: str, size: tuple[int, int]
) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """Return the generator, an example of its inputs, and its output's name."""
    model = create_model(config.model, checkpoint)
    assert isinstance(model, Generator)
    inputs = {"noise": torch.zeros(2, model.noise_dim), "labels": torch.zeros(2, dtype=torch.long)}
    return model, inputs, ["images"]
