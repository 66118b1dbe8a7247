"""Configs: their choices are the registries', and every field is shown, explained and read."""

import ast
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import vkd
from vkd.config import Distance, Normalization, Projection, field_groups, field_texts
from vkd.data.catalogue import PHOTOGRAPHS, SMALL, reader_of
from vkd.detection.catalogue import DETECTION_DATASETS
from vkd.errors import FieldError
from vkd.images_config import PHOTOGRAPH_FIELDS, SMALL_FIELDS
from vkd.loss import DISTANCES
from vkd.methods.projections import PROJECTIONS
from vkd.normalization import NORMALIZATIONS
from vkd.recipe import recipe
from vkd.tasks import TASKS
from vkd.training.spec import resolve

ROOT = Path(vkd.__file__).parent
CONFIGS = {name: spec.config for name, spec in TASKS.items()}
# Neither is a flag: the recipe tells the task, and Python the objects.
UNSHOWN = {"task", "objects"}


@pytest.mark.parametrize(
    ("choices", "registry"),
    [(Projection, PROJECTIONS), (Normalization, NORMALIZATIONS), (Distance, DISTANCES)],
)
def test_choices_are_the_registries(choices, registry):
    assert set(get_args(choices)) == set(registry)


def test_every_data_set_says_which_fields_it_reads():
    names = {item.name for item in fields(CONFIGS["classification"])}
    assert names >= SMALL_FIELDS | PHOTOGRAPH_FIELDS
    for entry in [*SMALL.values(), *PHOTOGRAPHS.values()]:
        assert callable(reader_of(entry))
    for detection in DETECTION_DATASETS.values():
        assert callable(resolve(detection.reader))


@pytest.mark.parametrize("task", CONFIGS)
def test_every_field_has_a_heading_and_a_sentence(task):
    names = {item.name for item in fields(CONFIGS[task])}
    shown = [name for members in field_groups(CONFIGS[task]).values() for name in members]
    assert sorted(shown) == sorted(names - UNSHOWN), "a field is missing, twice or unknown"
    texts = field_texts(CONFIGS[task])
    assert texts.keys() == names
    assert all(len(text.split()) > 1 for text in texts.values())


def attributes_read(room):
    """Names that code reads as attributes, in a task's folder and what every task shares."""
    shared = [ROOT / "training", ROOT / "api", ROOT / "reporting", ROOT / "data"]
    files = [file for folder in (ROOT / room, *shared) for file in folder.rglob("*.py")]
    # Configs hand some fields on, under names of their own.
    configs = [*(ROOT / "config").glob("*.py"), ROOT / room / "config.py"]
    found = set()
    for file in {*files, *configs}:
        tree = ast.parse(file.read_text())
        if file in configs:
            tree = ast.Module(_without_checks(tree), [])
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
    return found


def _without_checks(tree):
    """The methods of configs but ``__post_init__`` and what it calls, which only checks."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name not in ("__post_init__", "_check_method", "_check_mixing", "_check_read")
    ]


@pytest.mark.parametrize("task", CONFIGS)
def test_every_field_is_read(task):
    names = {item.name for item in fields(CONFIGS[task])}
    assert not names - attributes_read(task)


UNREAD = {
    "digits": (
        "input_size", "crop", "decoder", "evaluation_crop", "augmentation", "color_jitter",
        "max_corrupt", "data_path", "image_folder", "validation_fraction", "image_column",
        "label_column",
    ),
    "folder": (
        "crop_padding", "train_fraction", "image_folder", "image_column", "label_column",
    ),
    "wds": ("image_folder", "image_column", "label_column"),
    "hfds": ("image_folder",),
    "table": ("train_fraction",),
}  # fmt: skip
OTHER = {
    "input_size": 32, "crop": "simple", "decoder": "exact", "evaluation_crop": 0.9,
    "augmentation": "three-augment", "color_jitter": 0.3, "max_corrupt": 3,
    "data_path": "somewhere", "crop_padding": 2, "train_fraction": 0.5,
    "image_folder": "elsewhere", "validation_fraction": 0.3, "image_column": "img",
    "label_column": "kind",
}  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "field"),
    [
        ("cifar10", "validation_fraction"),
        ("cifar100", "max_corrupt"),
        ("digits", "max_corrupt"),
        ("folder", "image_column"),
    ],
)
def test_generation_refuses_fields_that_its_data_set_does_not_read(dataset, field):
    with pytest.raises(FieldError, match=f"{field} has no effect with dataset {dataset}"):
        recipe("gan-digits", dataset=dataset, **{field: OTHER[field]})


@pytest.mark.parametrize(
    ("dataset", "field"), [(name, field) for name, unread in UNREAD.items() for field in unread]
)
def test_a_field_that_the_data_set_does_not_read_is_refused_by_name(dataset, field):
    values = {"dataset": dataset, "student": "conv_vit_digits", "feature_weight": 0.0}
    with pytest.raises(FieldError, match=f"{field} has no effect with dataset {dataset}") as error:
        recipe("digits", **values, **{field: OTHER[field]})
    assert error.value.field == field


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("gan-digits", "data_path", "somewhere"),
        ("biggan-cifar10", "extractor_checkpoint", "somewhere"),
        ("digits-detection", "data_path", "somewhere"),
    ],
)
def test_other_tasks_refuse_what_they_do_not_read_too(name, field, value):
    with pytest.raises(FieldError, match=f"{field} has no effect"):
        recipe(name, **{field: value})


@pytest.mark.parametrize(
    ("name", "fields", "idle", "reason"),
    [
        ("digits", {}, {"decay_epochs": 2}, "schedule cosine"),
        ("digits", {"schedule": "wsd"}, {"decay_rate": 0.5}, "schedule wsd"),
        ("digits", {"warmup_epochs": 0}, {"warmup_lr": 1e-5}, "no warm-up"),
        ("digits", {}, {"mixup_probability": 0.5}, "neither mixup nor cutmix"),
        ("digits-detection", {}, {"no_object_weight": 0.2}, "architecture vidt"),
        (
            "digits-detection-teacher",
            {"architecture": "vidt_wo_neck"},
            {"focal_alpha": 0.5},
            "architecture vidt_wo_neck",
        ),
    ],
)
def test_fields_of_what_is_off_are_refused(name, fields, idle, reason):
    recipe(name, **fields)
    with pytest.raises(FieldError, match=f"has no effect with {reason}"):
        recipe(name, **fields, **idle)
