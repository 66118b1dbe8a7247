"""A network of transformers as all networks here are: images in, one tensor out."""

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vkd.models.sources.source import CONFIG

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Parameters that are tokens before those of patches.
_PREFIX_PARAMETERS = {"cls_token", "class_embedding", "distillation_token", "register_tokens"}
# Of this family the pooled map stands before its places as a token.
_POOLED_FIRST = "dinov3_convnext"


class TensorNetwork(nn.Module):
    """What a network's class becomes, before its own: called with images it returns one tensor.

    That is logits, of a classifier; otherwise the library's pooled output, its head on it where it
    has one. Where the library pools nothing it is the class token, or the mean of tokens or map.
    Hooks, and so taps, see the library's own output, and all layers have the library's names.

    Attributes:
        num_classes: 0 where it gives features.
        num_prefix_tokens: class and register tokens before those of patches.
        default_layer: with the last features before pooling.
        pretrained_cfg: what is known of its inputs, as of timm's networks.
        build_options: with which ``create_model`` builds it again.
    """

    num_classes: int
    num_prefix_tokens: int
    default_layer: str
    pretrained_cfg: Mapping[str, Any]
    build_options: Mapping[str, Any]

    def __call__(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes) or features (N, D)."""
        output = super().__call__(pixel_values=images)
        if "logits" in output:
            return output["logits"]
        pooled = self._pooled(output)
        head = self._modules.get("classifier")
        return pooled if head is None else head(pooled)

    def _pooled(self, output: Mapping[str, Any]) -> Tensor:
        if output.get("pooler_output") is not None:
            return output["pooler_output"].flatten(1)
        last = output["last_hidden_state"]
        if last.ndim == 4:
            return last.mean((2, 3))
        return last[:, 0] if self.num_prefix_tokens else last.mean(1)

    def __reduce__(self) -> tuple[Any, ...]:
        # The class is made here, and so cannot be found by its name.
        return _unpickled, (type(self).__mro__[2],), self.__dict__


def tensor_network(
    network: "PreTrainedModel", num_classes: int, inputs: Mapping[str, Any]
) -> nn.Module:
    """Make a network of transformers a ``TensorNetwork``, in place.

    Args:
        network: a classifier of the library, or one that gives features.
        num_classes: 0 to take a classifier's head off; above, one that gives features gets a linear
            head on them.
        inputs: what is known of its images.
    """
    from transformers import PreTrainedModel

    backbones = [n for n, child in network.named_children() if isinstance(child, PreTrainedModel)]
    is_classifier = _is_classifier(network)
    made: Any = network
    made.__class__ = _tensor_class(made.__class__)
    made.num_prefix_tokens = _prefix_tokens(network)
    made.pretrained_cfg = {**inputs, "num_classes": num_classes}
    made.num_classes = num_classes
    # The last hidden state of what classifies is that of the network inside.
    if not is_classifier:
        made.default_layer = ":last_hidden_state"
    elif backbones:
        made.default_layer = f"{backbones[0]}:last_hidden_state"
    if is_classifier and not num_classes:
        _remove_heads(made, backbones)
    elif num_classes and not is_classifier:
        made.classifier = nn.Linear(_width(made), num_classes)
    made.build_options = {
        "num_classes": num_classes,
        CONFIG: json.dumps(network.config.to_dict(), default=str),
    }
    return made


def _is_classifier(network: "PreTrainedModel") -> bool:
    from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    known = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING.get(type(network.config), ())
    return type(network) in (known if isinstance(known, tuple | list) else (known,))


def _remove_heads(network: Any, backbones: list[str]) -> None:
    """Take off the layers that give logits; the library itself cannot build each network so."""
    labels = network.config.num_labels
    for name, module in list(network.named_modules()):
        is_inside = name.split(".")[0] in backbones
        if isinstance(module, nn.Linear) and module.out_features == labels and not is_inside:
            network.set_submodule(name, nn.Identity())


@cache
def _tensor_class(library: Any) -> Any:
    return type(library.__name__, (TensorNetwork, library), {"__module__": library.__module__})


def _unpickled(library: Any) -> nn.Module:
    made = _tensor_class(library)
    return made.__new__(made)


def _prefix_tokens(network: "PreTrainedModel") -> int:
    if network.config.model_type == _POOLED_FIRST:
        return 1
    return sum(
        value.shape[1] if value.ndim == 3 else 1
        for name, value in network.named_parameters()
        if name.rpartition(".")[2] in _PREFIX_PARAMETERS
    )


@torch.no_grad()
def _width(network: Any) -> int:
    """The number of features, by trying an image."""
    was_training = network.training
    features = network.eval()(torch.zeros(1, *network.pretrained_cfg["input_size"]))
    network.train(was_training)
    return features.shape[1]
