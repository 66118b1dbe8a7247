"""A detector is shown images as its weights file says, which its training wrote."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from support.canvases import few_canvases
from vkd import create_model
from vkd.detection import inference
from vkd.detection.config import DetectionConfig
from vkd.detection.task import DetectionTask
from vkd.errors import FieldError
from vkd.models.checkpoints import read_checkpoint
from vkd.recipe import config_of, read_recipe

OWN = {"mean": [0.1, 0.2, 0.7], "std": [0.9, 0.5, 0.3]}


def file_of(folder, inputs):
    fields = read_recipe("digits-detection-teacher") | {"student": "vidt_digits"}
    metadata = {"recipe": json.dumps(fields), "inputs": json.dumps(inputs)}
    state = create_model("vidt_digits").state_dict()
    save_file({name: value.clone() for name, value in state.items()},
              folder / "model.safetensors", metadata)  # fmt: skip
    return folder / "model.safetensors"


@pytest.fixture
def seen(monkeypatch):
    """The images that reach a detector which is loaded, one by one."""
    found = []
    load = inference.load_detector

    def watched(*arguments):
        model = load(*arguments)
        model.register_forward_pre_hook(lambda module, given: found.extend(given[0]))
        return model

    monkeypatch.setattr(inference, "load_detector", watched)
    return found


def normalised(grey, mean, std):
    return (torch.full((3,), grey / 255) - torch.tensor(mean)) / torch.tensor(std)


def test_predictions_see_the_files_own_mean_and_deviation(tmp_path, seen, vkd):
    Image.new("RGB", (64, 48), (128, 128, 128)).save(tmp_path / "grey.png")
    done = vkd("predict", "--checkpoint", file_of(tmp_path, OWN), tmp_path / "grey.png")
    assert done.returncode == 0, done.stderr
    (image,) = seen
    torch.testing.assert_close(image[:, 5, 7], normalised(128, **OWN))


def test_evaluation_does_too(tmp_path, seen, vkd):
    with few_canvases(2, 2, 3):
        plain = file_of(tmp_path, {})
        assert vkd("eval", "--checkpoint", plain, "--device", "cpu").returncode == 0
        usual = [image.clone() for image in seen[-3:]]
        seen.clear()
        own = file_of(tmp_path, OWN)
        assert vkd("eval", "--checkpoint", own, "--device", "cpu").returncode == 0
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for first, second in zip(usual, seen[-3:], strict=True):
        pixels = first * std[:, None, None] + mean[:, None, None]
        expected = (pixels - torch.tensor(OWN["mean"])[:, None, None]) / torch.tensor(OWN["std"])[
            :, None, None
        ]
        torch.testing.assert_close(second, expected, atol=1e-4, rtol=1e-4)


def test_training_writes_normalisation_and_size(tmp_path):
    with few_canvases(2, 2, 2):
        fields = read_recipe("digits-detection-teacher") | {"student": "vidt_digits"}
        task = DetectionTask(config_of(fields | {"short_side": 96, "long_side": 160}))
    found = json.loads(task.metadata()["inputs"])
    assert found["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert found["std"] == pytest.approx([0.229, 0.224, 0.225])
    assert (found["short_side"], found["long_side"]) == (96, 160)


def test_images_of_another_size_than_in_training_are_said(tmp_path, caplog):
    checkpoint = read_checkpoint(file_of(tmp_path, OWN | {"short_side": 96, "long_side": 160}))
    inference.input_format(DetectionConfig(short_side=96, long_side=160), checkpoint)
    assert not caplog.records
    inference.input_format(DetectionConfig(short_side=480, long_side=800), checkpoint)
    assert "'short_side': 96" in caplog.text
    assert "'short_side': 480" in caplog.text


def test_a_teacher_of_other_images_is_refused_and_one_of_the_same_is_not(tmp_path, vkd):
    for name, inputs in (("own", OWN), ("none", {})):
        (tmp_path / name).mkdir()
        file = file_of(tmp_path / name, inputs)
        fields = {"teacher": "vidt_digits", "teacher_checkpoint": str(file)}
        config = config_of(read_recipe("digits-detection") | fields)
        with few_canvases(2, 2, 2):
            if inputs:
                with pytest.raises(FieldError, match="takes images of mean"):
                    DetectionTask(config)
            else:
                DetectionTask(config)
