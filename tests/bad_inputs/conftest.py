"""Untrained runs and pictures that bad inputs stand beside, made once for all workers."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from support.gan import small_gan
from vkd.config import write_recipe
from vkd.recipe import recipe
from vkd.tasks import task_of
from vkd.tensor_files import save_tensors
from vkd.training.spec import resolve
from vkd.training.task import Objects


def untrained(folder, config):
    """Write the run folder of a recipe as if it had been trained."""
    torch.manual_seed(0)
    folder.mkdir()
    task = resolve(task_of(config).task)(config, Objects())
    student = config.model_names().get("student", "")
    metadata = task.metadata() | {"recipe": json.dumps(asdict(config)), "architecture": student}
    save_tensors(task.model.state_dict(), folder / "model.safetensors", metadata)
    write_recipe(config, folder / "recipe.yaml")


@pytest.fixture(scope="session")
def beside(shared):
    """A folder with the runs ``teacher``, ``student``, ``detector``, ``gan`` and ``embedding`` and
    the folder of pictures ``pictures``."""

    def make(folder):
        folder.mkdir()
        plain = {"device": "cpu", "trackers": ""}
        teacher = folder / "teacher"
        untrained(teacher, recipe("digits-teacher", **plain))
        with_teacher = plain | {"teacher_checkpoint": str(teacher)}
        untrained(folder / "student", recipe("digits", **with_teacher))
        untrained(folder / "embedding", recipe("digits-embedding", **with_teacher))
        alone = {"method": "none", "feature_weight": 0.0}
        untrained(folder / "detector", recipe("digits-detection", **plain, **alone))
        networks = {"teacher_checkpoint": str(teacher), "extractor_checkpoint": str(teacher)}
        untrained(folder / "gan", small_gan(**networks))
        (folder / "pictures").mkdir()
        for number, image in enumerate(load_digits().images[:3]):
            pixels = (image / 16 * 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")

    return shared("bad-inputs", make)
