"""Networks of transformers beside the library itself."""

import copy
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from support.networks import KINDS, SIDE, save_network, silent
from vkd import create_model
from vkd.data.transforms import evaluation_transform
from vkd.errors import RunError, UserError
from vkd.features import FeatureTap, layers, pooling, prefix_tokens_of
from vkd.inputs import InputFormat
from vkd.models.factory import check_name, last_layer, published_config
from vkd.models.sources import hugging_face_files

transformers = pytest.importorskip("transformers")
PATCHES = (SIDE // 8) ** 2
IMAGES = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder and the library's network of a kind, saved once."""
    known = {}

    def folder(kind):
        if kind not in known:
            place = tmp_path_factory.mktemp(kind)
            known[kind] = place, save_network(kind, place)
        return known[kind]

    return folder


@torch.no_grad()
def library_output(network):
    """The library's own output, of the part that sees images."""
    seer = network.vision_model if type(network).__name__ == "SiglipModel" else network
    return seer(pixel_values=IMAGES)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_the_librarys_own(kind, saved):
    folder, network = saved(kind)
    ours, theirs = create_model(f"hf/{folder}", "hub").eval(), library_output(network)
    expected = theirs.logits if "logits" in theirs else theirs.pooler_output
    torch.testing.assert_close(ours(IMAGES), expected.flatten(1))


@torch.no_grad()
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith("classifier")])
def test_without_classes_a_classifier_gives_what_its_last_layer_takes(kind, saved):
    folder, network = saved(kind)
    seen = []
    head = [part for part in network.classifier.modules() if isinstance(part, nn.Linear)][-1]
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network(pixel_values=IMAGES)
    hook.remove()
    features = create_model(f"hf/{folder}", "hub", num_classes=0).eval()(IMAGES)
    torch.testing.assert_close(features, seen[0])


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_default_layer_has_the_last_features(kind, saved):
    """Pooled as the places' mean, of what comes before the library's own pooling."""
    folder, network = saved(kind)
    ours = create_model(f"hf/{folder}", "hub").eval()
    tap = FeatureTap(ours, last_layer(ours))
    ours(IMAGES)
    features = pooling("auto", prefix_tokens_of(ours))(tap.take())
    seer = next(c for c in network.children() if isinstance(c, transformers.PreTrainedModel)) \
        if kind.endswith("classifier") else network  # fmt: skip
    last = library_output(seer).last_hidden_state
    if last.ndim == 3:
        # Of ViTs there are as many tokens as patches; Swin merges four of its smaller ones.
        patches = {"swin": 64}.get(kind.split("-")[0], PATCHES)
        assert prefix_tokens_of(ours) == last.shape[1] - patches
        expected = last[:, -patches:].mean(1)
    else:
        expected = last.mean((2, 3))
    torch.testing.assert_close(features, expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_student_is_rebuilt_from_its_weights_file_alone(kind, saved, tmp_path):
    folder, _ = saved(kind)
    student = create_model(f"hf/{folder}", num_classes=7, img_size=16, in_chans=1).eval()
    images = torch.randn(2, 1, 16, 16)
    expected = student(images)
    assert expected.shape == (2, 7)
    for copied in (copy.deepcopy(student), pickle.loads(pickle.dumps(student))):
        assert copied(images).equal(expected)
        assert last_layer(copied) == last_layer(student)
    state = {name: value.clone() for name, value in student.state_dict().items()}
    options = json.dumps(student.build_options)
    save_file(state, tmp_path / "w.safetensors", {"options": options})
    # The name's folder need not be there any more.
    again = create_model("hf/nobody/nothing", tmp_path / "w.safetensors").eval()
    assert again(images).equal(expected)


def test_layers_have_the_librarys_names(saved):
    folder, network = saved("vit-classifier")
    ours = {row.name: row for row in layers(create_model(f"hf/{folder}"), IMAGES)}
    theirs = {name for name, _ in network.named_modules()}
    assert ours.keys() <= theirs
    assert ours["vit.layers.1"].shape == (2, 1 + PATCHES, 32)
    assert "last_hidden_state (2, 17, 32)" in ours["vit"].shape


def test_weights_without_a_pooler_give_the_class_token(tmp_path, caplog):
    config, values, _ = KINDS["vit"]
    with silent():
        network = transformers.ViTModel(
            getattr(transformers, config)(**values), add_pooling_layer=False
        )
        network.save_pretrained(tmp_path)
    features = create_model(f"hf/{tmp_path}", "hub").eval()(IMAGES)
    assert "have no pooler" in caplog.text
    torch.testing.assert_close(features, network.eval()(IMAGES).last_hidden_state[:, 0])


@torch.no_grad()
def test_other_classes_start_anew_and_the_rest_is_published(saved, caplog):
    folder, network = saved("vit-classifier")
    ours = create_model(f"hf/{folder}", "hub", num_classes=5)
    assert "start anew, for other classes" in caplog.text
    assert ours(IMAGES).shape == (2, 5)
    assert ours.vit.layernorm.weight.equal(network.vit.layernorm.weight)
    weight = ours.get_parameter("vit.layers.0.attention.q_proj.weight")
    assert weight.equal(network.get_parameter("vit.layers.0.attention.q_proj.weight"))


PROCESSORS = {
    "vit": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
    "dinov2": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
    ),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 32, "width": 32}, "resample": 3}),
    "convnext": ("ConvNextImageProcessor", {"size": {"shortest_edge": 32}, "crop_pct": 0.8}),
    "no-norm": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}, "do_normalize": False}),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_published_format_prepares_as_the_librarys_processor(kind, tmp_path):
    name, settings = PROCESSORS[kind]
    save_network("vit", tmp_path)
    processor = getattr(transformers, name)(**settings)
    processor.save_pretrained(tmp_path)
    found = InputFormat.from_pretrained_cfg(published_config(f"hf/{tmp_path}"))
    assert found.size == (32, 32)
    # A square picture, as squares are what both crop and squash alike.
    rows, columns = np.mgrid[:80, :80]
    pixels = np.stack([rows * 3, columns * 3, (rows + columns) * 1.5], -1).astype(np.uint8)
    picture = Image.fromarray(pixels)
    theirs = processor(images=[picture], return_tensors="pt")["pixel_values"][0]
    ours = evaluation_transform(found)(picture)
    assert (ours - theirs).abs().max() < 0.06
    built = create_model(f"hf/{tmp_path}", "hub")
    assert InputFormat.from_pretrained_cfg(published_config(built)) == found
    assert published_config(built)["fixed_input_size"]
    assert published_config(f"hf/{tmp_path}")["fixed_input_size"]


def test_what_cannot_be_used_is_said_in_a_sentence(saved, tmp_path, monkeypatch):
    folder, network = saved("vit-classifier")
    text = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        vocab_size=100,
    )  # fmt: skip
    with silent():
        transformers.BertModel(text).save_pretrained(tmp_path / "bert")
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"architecture": "resnet18"}')
    (tmp_path / "pickle").mkdir()
    network.config.save_pretrained(tmp_path / "pickle")
    torch.save(network.state_dict(), tmp_path / "pickle" / "pytorch_model.bin")
    cases = [
        ((f"hf/{tmp_path}/bert",), "is no network of images: BertModel takes input_ids"),
        ((f"hf/{tmp_path}/empty",), "holds no config.json"),
        ((f"hf/{tmp_path}/odd",), "one of timm's is timm/NAME"),
        (("hf/resnet",), "names on the hub are OWNER/NAME"),
        ((f"hf/{tmp_path}/pickle", "hub"), "has no weights as safetensors"),
        ((f"hf/{folder}", "hub"), "tensors of ViTForImageClassification are not among its weights"),
    ]
    for arguments, sentence in cases:
        options = {"img_size": 64} if "not among" in sentence else {}
        with pytest.raises(UserError, match=sentence) as told:
            create_model(*arguments, **options)
        assert len(str(told.value)) <= 300
    monkeypatch.setattr("vkd.models.sources.hugging_face.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'vkd\[hugging-face\]'"):
        check_name(f"hf/{folder}")


@pytest.mark.parametrize("weights", ["", "hub"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("num_attention_heads", 64), ("num_attention_heads", 0), ("patch_size", 0),
     ("hidden_size", -4), ("image_size", "x"), ("hidden_act", "nope")],
)  # fmt: skip
def test_odd_values_of_a_config_are_a_sentence(saved, tmp_path, field, value, weights):
    folder, _ = saved("vit-classifier")
    odd = shutil.copytree(folder, tmp_path / "odd")
    values = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(json.dumps(values | {field: value}))
    with pytest.raises(UserError, match=rf"hf/{odd}:? .*cannot be (built|used)") as told:
        create_model(f"hf/{odd}", weights or None)
    assert len(str(told.value)) <= 300


def test_a_config_cannot_have_code_fetched(saved):
    _, network = saved("vit")
    values = network.config.to_dict() | {
        "auto_map": {"AutoModel": "evil--code.Net"}, "attn_implementation": "evil/kernel",
        "nested": {"quantization_config": {"quant_method": "evil"}},
    }  # fmt: skip
    cleaned = hugging_face_files.safe_values(values)
    assert not {"auto_map", "attn_implementation"} & cleaned.keys()
    assert cleaned["nested"] == {}
    model = create_model("hf/nobody/nothing", config=json.dumps(values))
    assert model.config._attn_implementation in ("sdpa", "eager")


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(own, name):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(hugging_face_files, "hf_hub_download", unreachable)
    with pytest.raises(RunError, match="cannot be reached for hf/owner/name"):
        create_model("hf/owner/name")
