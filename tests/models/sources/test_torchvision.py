"""torchvision's networks beside the library itself."""

import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from vkd import create_model
from vkd.data.transforms import evaluation_transform
from vkd.errors import UserError
from vkd.features import FeatureTap, pooling, prefix_tokens_of
from vkd.inputs import InputFormat
from vkd.models.factory import last_layer, published_config
from vkd.models.sources.torchvision import _LAST_LAYERS, _kind, torchvision_names

# Of each the layer whose output its last linear layer takes, and options for small images.
HEADS = {
    "resnet18": ("flatten", {}),
    "mobilenet_v3_small": ("classifier.2", {}),
    "efficientnet_b0": ("classifier.0", {}),
    "swin_t": ("flatten", {}),
    "vit_b_32": ("getitem_5", {"img_size": 64}),
    "convnext_tiny": ("classifier.1", {}),
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def of_library(name, options):
    sizes = {"image_size": options["img_size"]} if options else {}
    torch.manual_seed(0)
    return models.get_model(name, weights=None, **sizes).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", HEADS)
def test_outputs_features_and_last_layer_are_the_librarys(name):
    node, options = HEADS[name]
    network = of_library(name, options)
    torch.manual_seed(0)
    ours = create_model(f"torchvision/{name}", **options).eval()
    assert ours(IMAGES).equal(network(IMAGES))
    features = create_model(f"torchvision/{name}", num_classes=0, **options).eval()
    features.load_state_dict(network.state_dict(), strict=False)
    expected = create_feature_extractor(network, [node])(IMAGES)[node]
    torch.testing.assert_close(features(IMAGES), expected)
    tap = FeatureTap(features, last_layer(features))
    features(IMAGES)
    pooled = pooling("auto", prefix_tokens_of(features))(tap.take())
    if name in ("resnet18", "efficientnet_b0", "swin_t"):  # what they pool is what is tapped
        torch.testing.assert_close(pooled, expected)
    if name == "vit_b_32":  # torchvision takes the class token, the mean is of the others
        tokens = create_feature_extractor(network, ["encoder.ln"])(IMAGES)["encoder.ln"]
        torch.testing.assert_close(pooled, tokens[:, 1:].mean(1))


def test_every_classifier_has_a_last_layer_and_a_format():
    names = {_kind(name.removeprefix("torchvision/")): name for name in torchvision_names()}
    assert names.keys() == _LAST_LAYERS.keys()
    for name in torchvision_names():
        assert InputFormat.from_pretrained_cfg(published_config(name)).channels == 3
    names["regnet"] = "torchvision/regnet_y_400mf"
    for kind, name in names.items():
        # RegNet computes its widths, which no meta tensor can.
        with torch.device("cpu" if kind == "regnet" else "meta"):
            network = create_model(name)
        assert last_layer(network) in dict(network.named_modules())


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "convnext_tiny", "vit_b_16"])
def test_a_published_format_prepares_as_the_librarys_transforms(name):
    found = InputFormat.from_pretrained_cfg(published_config(f"torchvision/{name}"))
    picture = Image.radial_gradient("L").resize((300, 300)).convert("RGB")
    theirs = models.get_model_weights(name).DEFAULT.transforms()(picture)
    ours = evaluation_transform(found)(picture)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 0.03


@torch.no_grad()
def test_other_channels_and_squeezenets_convolution():
    grey = create_model("torchvision/resnet18", in_chans=1, num_classes=4).eval()
    assert grey(torch.zeros(2, 1, 32, 32)).shape == (2, 4)
    squeezed = create_model("torchvision/squeezenet1_1", num_classes=0).eval()
    assert squeezed(IMAGES).shape == (2, 512)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_published_weights_are_loaded_without_unpickling(name, monkeypatch):
    network, weights = of_library(name, {}), models.get_model_weights(name)
    asked = {}

    def state(self, **options):
        asked.update(options)
        # As in DenseNet's file, whose names modules no longer have.
        former = {"norm1": "norm.1", "conv1": "conv.1", "norm2": "norm.2", "conv2": "conv.2"}
        found = network.state_dict()
        if name == "resnet18":
            return found
        names = {key: key for key in found}
        for new, old in former.items():
            names = {k: v.replace(f".{new}.", f".{old}.") for k, v in names.items()}
        return {names[key]: value for key, value in found.items()}

    monkeypatch.setattr(weights, "get_state_dict", state)
    ours = create_model(f"torchvision/{name}", "hub").eval()
    assert asked["weights_only"] is True
    assert asked["check_hash"] is True
    assert ours(IMAGES).equal(network(IMAGES))
    assert create_model(f"torchvision/{name}", "hub", num_classes=0).eval()(IMAGES).ndim == 2
    with pytest.raises(UserError, match="take 3 channels, found in_chans 1"):
        create_model(f"torchvision/{name}", "hub", in_chans=1)


def test_the_nearest_name_is_suggested():
    with pytest.raises(UserError, match=r"torchvision/resnet81'; did you mean torchvision/resnet1"):
        create_model("torchvision/resnet81")


@torch.no_grad()
def test_weights_alone_tell_the_classes(tmp_path):
    network = create_model("torchvision/mobilenet_v3_small", num_classes=6).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    again = create_model("torchvision/mobilenet_v3_small", tmp_path / "weights.pth").eval()
    assert again(IMAGES).equal(network(IMAGES))
