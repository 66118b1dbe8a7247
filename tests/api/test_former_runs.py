"""Runs of the version before rooms and methods resume, and their recipes are read."""

import json
import logging

import torch
import yaml
from safetensors.torch import load_file, save_file

import vkd
from vkd.recipe import config_of, read_recipe, recipe


def rename_classification(key):
    key = key.replace("methods.feature.loss.", "network.loss.")
    return key.replace("student.", "network.student.") if key.startswith("student.") else key


def as_former(folder):
    """Rewrite an interrupted run as the version before wrote it."""
    (state,) = (folder / "checkpoints").iterdir()
    file = state / "model.safetensors"
    tensors = load_file(file)
    assert any("methods.feature.loss." in key for key in tensors)
    save_file({rename_classification(k): v for k, v in tensors.items()}, file, {"format": "pt"})
    progress = json.loads((state / "progress.json").read_text())
    kept = {name: progress[name] for name in ("epoch", "updates")}
    (state / "progress.json").write_text(json.dumps(kept))
    values = yaml.safe_load((folder / "recipe.yaml").read_text())
    for new in ("objects", "method", "method_options", "log_every", "trackers"):
        del values[new]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values | {"tensorboard": False}))


def test_a_classifiers_state_with_former_names_resumes_to_the_same_bits(
    digits_teacher, tmp_path, interrupted
):
    config = recipe(
        "digits", epochs=3, warmup_epochs=0, checkpoint_every=1, device="cpu", trackers="",
        teacher_checkpoint=str(digits_teacher), ema_decay=0.9, crop_padding=1,
    )  # fmt: skip
    whole, former = tmp_path / "whole", tmp_path / "former"
    vkd.train(config, whole, show=False)
    interrupted(config, former)
    as_former(former)
    vkd.train(config, former, resume=True, show=False)
    for name in ("model", "projection"):
        first, second = (load_file(run / f"{name}.safetensors") for run in (whole, former))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_former_fields_are_taken_with_a_note(tmp_path, caplog):
    file = tmp_path / "gan.yaml"
    file.write_text("task: generation\nmodel: biggan\ntensorboard: false\n")
    caplog.set_level(logging.INFO, logger="vkd")
    logging.getLogger("vkd").propagate = True
    values = read_recipe(str(file))
    assert (values["student"], values["trackers"]) == ("biggan", "")
    assert "model is now student" in caplog.text
    assert "tensorboard is now trackers" in caplog.text
    detector = config_of({"task": "detection", "method": "vidt_wo_neck"})
    assert (detector.architecture, detector.method) == ("vidt_wo_neck", "vkd")
