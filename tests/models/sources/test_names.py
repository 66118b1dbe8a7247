"""What a name is of, and networks in files of Python and run folders."""

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.networks import runs_of, write_file
from vkd import create_model
from vkd.errors import FieldError, UserError
from vkd.features import FeatureTap, pooling
from vkd.models.factory import check_name, last_layer, published_config
from vkd.network_names import NetworkName, parse


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ("timm", "resnet18")),
        ("deit_ti_distilled", ("timm", "deit_ti_distilled")),
        ("vit_base_patch14_reg4_dinov2.lvd142m", ("timm", "vit_base_patch14_reg4_dinov2.lvd142m")),
        ("timm/resnet18.a1_in1k", ("timm", "resnet18.a1_in1k")),
        ("torchvision/resnet18", ("torchvision", "resnet18")),
        ("hf/facebook/dinov2-base", ("hugging_face", "facebook/dinov2-base")),
        ("hf/./folder", ("hugging_face", "./folder")),
        ("net.py:build", ("python_file", "net.py:build")),
        ("/some where/net.py:build", ("python_file", "/some where/net.py:build")),
        ("runs/teacher", ("run_folder", "runs/teacher")),
        ("./teacher", ("run_folder", "./teacher")),
        ("weights.safetensors", ("run_folder", "weights.safetensors")),
        ("runs/net.py", ("run_folder", "runs/net.py")),
    ],
)
def test_a_name_is_taken_apart(name, expected):
    assert parse(name) == NetworkName(*expected)


def test_the_prefix_of_timm_changes_nothing():
    torch.manual_seed(0)
    plain = create_model("test_resnet", num_classes=3).state_dict()
    torch.manual_seed(0)
    prefixed = create_model("timm/test_resnet", num_classes=3).state_dict()
    assert all(value.equal(prefixed[name]) for name, value in plain.items())
    assert published_config("timm/test_resnet") == published_config("test_resnet")


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "cnn_digits", "conv_vit_digits"])
def test_without_classes_timms_and_ours_give_pooled_features(name):
    model = create_model(name, num_classes=0).eval()
    shape = {"cnn_digits": (1, 8, 8), "conv_vit_digits": (1, 8, 8)}.get(name, (3, 160, 160))
    images = torch.randn(2, *shape)
    features = model(images)
    assert features.ndim == 2
    if name == "cnn_digits":
        tap = FeatureTap(model, last_layer(model))
        model(images)
        torch.testing.assert_close(features, pooling("NCHW")(tap.take()))


@torch.no_grad()
def test_a_file_is_run_only_to_build_and_takes_what_it_can(tmp_path, caplog):
    file = write_file(tmp_path)
    check_name(f"{file}:build", "student")
    assert published_config(f"{file}:build") == {}
    assert runs_of(file) == 0
    images = torch.randn(2, 3, 32, 32)
    network = create_model(f"{file}:build", num_classes=4, in_chans=3, img_size=32)
    assert network(images).shape == (2, 4)
    assert "takes no in_chans, img_size, and is called without" in caplog.text
    assert last_layer(network) == "body"
    assert create_model(f"{file}:build", num_classes=0)(images).shape == (2, 8)
    assert runs_of(file) == 1
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    again = create_model(f"{file}:build", tmp_path / "weights.pth", num_classes=4)
    assert again(images).equal(network(images))


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (":buidl", "defines no buidl; did you mean build"),
        (":wrong", "must return a torch.nn.Module, found dict"),
        (":failing", "cannot be built with nothing: 'no such thing'"),
        (":empty", "a layer without outputs with num_classes=0"),
    ],
)
def test_what_a_file_gives_wrong_is_said_in_a_sentence(end, sentence, tmp_path):
    options = {"num_classes": 0} if end == ":empty" else {}
    with pytest.raises(UserError, match=sentence) as told:
        create_model(f"{write_file(tmp_path)}{end}", **options)
    assert len(str(told.value)) <= 300


def test_files_that_cannot_be_run_are_named(tmp_path):
    for name, text, sentence in (
        ("absent.py", None, "there is no file"),
        ("broken.py", "def build(:\n", r"broken.py, line 1: it is no Python"),
        ("lost.py", "import nowhere_at_all\nbuild = 1\n", "ModuleNotFoundError: No module named"),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=f"(?i){sentence}"):
            create_model(f"{tmp_path / name}:build")


def test_a_run_names_its_own_model(digits_teacher):
    images = torch.randn(2, 1, 8, 8)
    model = create_model(str(digits_teacher)).eval()
    assert model(images).shape == (2, 10)
    named = create_model("cnn_digits", digits_teacher).eval()
    assert model(images).equal(named(images))
    alone = create_model(str(digits_teacher / "model.safetensors")).eval()
    assert model(images).equal(alone(images))
    known = published_config(str(digits_teacher))
    assert known["input_size"] == (1, 8, 8)


@torch.no_grad()
def test_a_classifiers_run_gives_features_without_its_classifier(digits_teacher, caplog):
    caplog.set_level(logging.INFO, "vkd")
    images = torch.randn(2, 1, 8, 8)
    whole = create_model(str(digits_teacher)).eval()
    features = create_model(str(digits_teacher), num_classes=0).eval()
    assert "its classifier (head.bias, head.weight) is left out" in caplog.text
    torch.testing.assert_close(whole.head(features(images)), whole(images))


def test_weights_of_another_network_are_refused_without_classes_as_well(digits_teacher, tmp_path):
    state = load_file(digits_teacher / "model.safetensors")
    state["features.99.weight"] = torch.zeros(3)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"unexpected: features.99.weight"):
        create_model("cnn_digits", tmp_path / "w.safetensors", num_classes=0)


def test_a_file_that_does_not_say_its_model_is_refused(digits_teacher, tmp_path):
    save_file(load_file(digits_teacher / "model.safetensors"), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="does not say which model its weights are of"):
        create_model(str(tmp_path / "w.safetensors"))
    with pytest.raises(FieldError, match=r"teacher: there is no run folder, weights file or model"):
        check_name(str(tmp_path / "absent"), "teacher")


def test_a_folder_by_the_name_alone_is_pointed_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher").mkdir()
    with pytest.raises(UserError, match=r"what lies here by that name is ./teacher"):
        check_name("teacher")
