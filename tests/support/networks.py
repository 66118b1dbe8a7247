"""Small networks of Hugging Face's library, saved as its users save them, and one in a file."""

from contextlib import contextmanager

SIDE = 32
_VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "image_size": SIDE, "patch_size": 8,
}  # fmt: skip
_DINO = {name: value for name, value in _VIT.items() if name != "intermediate_size"}
_TEXT = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64,
    "vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_SWIN = {
    "image_size": SIDE, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2],
    "window_size": 4,
}  # fmt: skip
_CONVNEXT = {"hidden_sizes": [8, 16, 32], "depths": [1, 1, 1], "num_stages": 3}
# By name: the class of the config, its values, and the class of the network.
KINDS = {
    "vit": ("ViTConfig", _VIT, "ViTModel"),
    "vit-classifier": ("ViTConfig", {**_VIT, "num_labels": 3}, "ViTForImageClassification"),
    "deit": ("DeiTConfig", _VIT, "DeiTModel"),
    "dinov2": ("Dinov2Config", _DINO, "Dinov2Model"),
    "dinov2-classifier": (
        "Dinov2Config", {**_DINO, "num_labels": 3}, "Dinov2ForImageClassification",
    ),
    "dinov2-registers": (
        "Dinov2WithRegistersConfig", {**_DINO, "num_register_tokens": 4},
        "Dinov2WithRegistersModel",
    ),
    "dinov3": ("DINOv3ViTConfig", {**_VIT, "num_register_tokens": 4}, "DINOv3ViTModel"),
    "siglip": ("SiglipConfig", {"vision_config": _VIT, "text_config": _TEXT}, "SiglipModel"),
    "siglip-classifier": (
        "SiglipConfig", {"vision_config": _VIT, "text_config": _TEXT, "num_labels": 3},
        "SiglipForImageClassification",
    ),
    "swin": ("SwinConfig", _SWIN, "SwinModel"),
    "swin-classifier": ("SwinConfig", {**_SWIN, "num_labels": 3}, "SwinForImageClassification"),
    "convnext": ("ConvNextConfig", _CONVNEXT, "ConvNextModel"),
    "convnext-classifier": (
        "ConvNextConfig", {**_CONVNEXT, "num_labels": 3}, "ConvNextForImageClassification",
    ),
    "resnet-classifier": (
        "ResNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1],
                         "num_labels": 3}, "ResNetForImageClassification",
    ),
}  # fmt: skip


@contextmanager
def silent():
    """Keep the library's own bars and reports out of a test's output."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    yield


def save_network(kind, folder):
    """Save a network of a kind of ``KINDS`` into a folder, and return it in eval mode."""
    import torch
    import transformers

    config, values, network = KINDS[kind]
    with silent():
        torch.manual_seed(0)
        made = getattr(transformers, network)(getattr(transformers, config)(**values))
        made.save_pretrained(folder)
    return made.eval()


FILE = """
import torch
from torch import nn

with open(__file__ + ".ran", "a") as told:
    told.write("x")


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 2))
        self.head = nn.Linear(8, num_classes) if num_classes else nn.Identity()
        self.default_layer = "body"

    def forward(self, images):
        return self.head(self.body(images).mean((2, 3)))


def build(num_classes=10):
    return Net(num_classes)


def trained():
    torch.manual_seed(1)
    return Net(3)


def empty(num_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))


def wrong():
    return {"weights": 1}


def failing(num_classes=10):
    raise KeyError("no such thing")
"""


def write_file(folder):
    """Write a file with functions that return networks; it tells each time that it is run."""
    file = folder / "net.py"
    file.write_text(FILE)
    return file


def runs_of(file):
    """How often a file of ``write_file`` was run."""
    told = file.with_name(file.name + ".ran")
    return len(told.read_text()) if told.is_file() else 0
