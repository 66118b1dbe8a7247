"""Models by name, and the weights they are built for."""

import re

import pytest
import torch

import vkd
from support.commands import run_python
from vkd.models import create_model, last_layer


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet10t", "layer4"), ("regnety_002", "final_conv"), ("deit_tiny_patch16_224", "norm"),
     ("convnext_atto", "stages.3"), ("cnn_digits", "features")],
)  # fmt: skip
def test_the_last_layer_of_a_teacher_is_found(name, layer):
    assert last_layer(create_model(name)) == layer


def grey_squares(count, side=32):
    """Pairs of a grey image and one of three classes."""
    torch.manual_seed(0)
    return [(torch.randn(1, side, side), index % 3) for index in range(count)]


@pytest.fixture(scope="module")
def grey_run(tmp_path_factory):
    """A run of timm's smallest ViT, for colours at 160 x 160, on grey images of 32 x 32."""
    folder = tmp_path_factory.mktemp("grey") / "run"
    data = vkd.splits_of(grey_squares(8), grey_squares(4), classes=3)
    vkd.train(
        "digits", folder, data=data, student="test_vit", feature_weight=0.0, epochs=1,
        warmup_epochs=0, batch_size=4, device="cpu", trackers="", show=False,
    )  # fmt: skip
    return folder


def test_a_run_tells_the_channels_size_and_classes_of_its_model(grey_run):
    for path in (grey_run, grey_run / "model.safetensors"):
        model = vkd.create_model("test_vit", path).eval()
        assert model.patch_embed.img_size == (32, 32)
        assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 3)


def test_weights_alone_tell_channels_and_classes(tmp_path):
    state = vkd.create_model("test_resnet", in_chans=1, num_classes=4).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    model = vkd.create_model("test_resnet", tmp_path / "weights.pth").eval()
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 4)


def test_such_a_run_can_teach(grey_run):
    data = vkd.splits_of(grey_squares(8), grey_squares(4), classes=3)
    metrics = vkd.train(
        "digits", grey_run.parent / "taught", data=data, student="test_resnet",
        student_layer="layer4", teacher="test_vit", teacher_layer="norm",
        teacher_checkpoint=str(grey_run), epochs=1, warmup_epochs=0, batch_size=4, device="cpu",
        trackers="", show=False,
    )  # fmt: skip
    assert 0 <= metrics["accuracy"] <= 100


@pytest.mark.parametrize("kind", ["grey", "digits"])
def test_the_model_cards_own_lines_run(kind, grey_run, digits_run, monkeypatch):
    run, shape = {"grey": (grey_run, (1, 32, 32)), "digits": (digits_run, (1, 8, 8))}[kind]
    (code,) = re.findall(r"```python\n(.*?)```", (run / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(run)
    names = {}
    exec(code, names)
    assert names["model"].eval()(torch.zeros(1, *shape)).isfinite().all()


def test_importing_the_models_registers_them_with_timm():
    done = run_python("-c", "import vkd.models, timm; print(timm.is_model('deit_ti_distilled'))")
    assert done.stdout.strip() == "True", done.stderr
