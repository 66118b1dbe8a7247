"""Runs of the version before rooms and methods resume, and their recipes are read."""

import logging

import pytest

import vkd
from vkd.errors import UserError
from vkd.recipe import config_of, read_recipe, recipe


def test_a_state_of_a_former_version_is_refused_and_its_pickles_stay_closed(tmp_path, interrupted):
    config = recipe(
        "digits", method="none", feature_weight=0.0, epochs=3, warmup_epochs=0, device="cpu",
        trackers="", checkpoint_every=1,
    )  # fmt: skip
    interrupted(config, tmp_path / "run")
    (state,) = (tmp_path / "run" / "checkpoints").iterdir()
    (state / "manifest.json").unlink()
    (state / "optimizer.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(UserError, match="earlier version, whose states hold pickles"):
        vkd.train(config, tmp_path / "run", resume=True, show=False)


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
