"""Published checkpoints to safetensors."""

import json
from pathlib import Path

from vkd.models import create_model
from vkd.models.checkpoints import read_checkpoint, write_converted
from vkd.notes import say
from vkd.recipe import read_recipe

# The recipe that a converted model belongs to, so that it can be evaluated right away.
_RECIPES = {
    "deit_ti_distilled": "deit-tiny-imagenet",
    "deit_s_distilled": "deit-small-imagenet",
    "deit_b_distilled": "deit-small-imagenet",
    "vidt_nano": "vidt-nano-coco",
    "vidt_tiny": "vidt-tiny-coco",
    "vidt_small": "vidt-small-coco",
    "vidt_base": "vidt-small-coco",
    "vidt_large": "vidt-small-coco",
}


def convert(source: str, target: str) -> list[Path]:
    """Write a checkpoint as safetensors by our names, its projector beside it; return the files.

    Weights of the paper's models are checked against the model, key by key; others keep their
    names. What a safetensors file says of itself is kept.

    Raises:
        UserError: if ``source`` is not a checkpoint or does not fit, or a target exists.
        RunError: if a target cannot be written whole.
    """
    checkpoint = read_checkpoint(source)
    name = checkpoint.architecture
    metadata = checkpoint.metadata | {"architecture": checkpoint.model_name or name}
    if checkpoint.options:
        # Heads and points of attention, and stages that attend across, do not show in shapes.
        metadata["options"] = json.dumps(checkpoint.options)
    if name:
        create_model(name, checkpoint, **checkpoint.options)
    else:
        say(checkpoint.file, checkpoint.notes)
    if name in _RECIPES and "recipe" not in metadata:
        fields = read_recipe(_RECIPES[name]) | {"student": name}
        metadata["recipe"] = json.dumps(fields)
    return write_converted(checkpoint, Path(target), metadata)
