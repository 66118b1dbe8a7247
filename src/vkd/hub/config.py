"""``config.json``: how a published network is built."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

import vkd
from vkd.errors import reason_of
from vkd.files import read_json, write_json
from vkd.hub.model import Model
from vkd.hub.names import CONFIG, WEIGHTS
from vkd.inputs import InputFormat
from vkd.tensor_files import save_tensors

# What timm says of the weights that it publishes, which are others.
_OF_OTHER_WEIGHTS = (
    "url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "tag", "custom_load",
    "license", "description", "origin_url", "paper_name", "paper_ids", "notes", "label_offset",
    "label_names", "label_descriptions", "test_input_size", "test_crop_pct", "pool_size",
    "test_pool_size",
)  # fmt: skip


def write_network(model: Model, folder: Path, licence: str) -> str:
    """Write weights and config.json of a model into a folder.

    Where timm can build the network, it is written as timm's own are, and read back by timm, whose
    weights and outputs must be equal.

    Args:
        model: to write.
        folder: where none of the files is.
        licence: of the model; empty where it is not known.

    Returns:
        Why timm cannot load it; empty where it does.
    """
    reason = "timm does not know its architecture"
    if model.timm_name:
        reason = _written_for_timm(model, folder, licence)
    if reason:
        write_json(folder / CONFIG, _plain_config(model))
        save_tensors(_state(model.network), folder / WEIGHTS, dict(model.metadata))
    return reason


def class_names(metadata: Mapping[str, str]) -> list[str]:
    """Return the names of the classes that the metadata of weights tell; empty if none."""
    if "categories" in metadata:
        return json.loads(metadata["categories"])["names"]
    return json.loads(metadata.get("classes", "[]"))


def _state(network: nn.Module) -> dict[str, Tensor]:
    return dict(network.state_dict())


def _written_for_timm(model: Model, folder: Path, licence: str) -> str:
    try:
        save_for_hf(model.network, str(folder), safe_serialization=True)
    # Options that no JSON holds, tensors that share memory, and heads of other numbers.
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        return reason_of(error)
    save_tensors(_state(model.network), folder / WEIGHTS, dict(model.metadata))
    config = read_json(folder / CONFIG)
    config["pretrained_cfg"] = _pretrained_cfg(model, config["pretrained_cfg"], licence)
    config |= _labels(model) | {"vkd": _ours(model)}
    write_json(folder / CONFIG, config)
    return _difference(model.network, folder)


def _pretrained_cfg(model: Model, written: Mapping[str, Any], licence: str) -> dict[str, Any]:
    """What timm is told of the weights: their inputs and classes, and the licence as given.

    Args:
        model: of the weights.
        written: by timm, which knows the network as it is, and other weights of it.
        licence: of the model; empty where it is not known.
    """
    found = {name: part for name, part in written.items() if name not in _OF_OTHER_WEIGHTS}
    found |= {"license": licence} if licence else {}
    told = json.loads(model.metadata.get("inputs", "{}"))
    if not told:
        return found
    inputs = InputFormat.from_dict(told)
    return found | {
        "input_size": (inputs.channels, *(inputs.size or found["input_size"][1:])),
        "mean": inputs.mean,
        "std": inputs.std,
        "crop_pct": inputs.crop,
        "interpolation": inputs.interpolation,
    }


def _difference(network: nn.Module, folder: Path) -> str:
    """What timm loads otherwise than it was written; empty if nothing."""
    try:
        loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        size = json.loads((folder / CONFIG).read_text())["pretrained_cfg"]["input_size"]
        images = torch.linspace(-1, 1, 2 * size[0] * size[1] * size[2]).view(2, *size)
        place = next(network.parameters())
        with torch.no_grad():
            expected = network(images.to(place.device, place.dtype)).float().cpu()
            found = loaded.to(place.dtype)(images.to(place.dtype)).float()
    # What a model makes of odd sizes and options is of no fixed kind.
    except Exception as error:
        return reason_of(error)
    own = network.state_dict()
    state = loaded.state_dict()
    are_equal = own.keys() == state.keys() and all(
        state[name].equal(value.cpu()) for name, value in own.items()
    )
    return "" if are_equal and torch.allclose(found, expected, atol=1e-5) else "it loads others"


def _plain_config(model: Model) -> dict[str, Any]:
    """The configuration of a network that ``vkd.from_pretrained`` builds."""
    return {
        "architecture": model.architecture,
        **_labels(model),
        "vkd": _ours(model),
    }


def _labels(model: Model) -> dict[str, Any]:
    names = class_names(model.metadata)
    return {"num_classes": len(names), "label_names": names} if names else {}


def _ours(model: Model) -> dict[str, Any]:
    """What is told of ours in every configuration."""
    return {
        "version": vkd.__version__,
        "task": model.config.task if model.config else "",
        "parameters": sum(part.numel() for part in model.network.parameters()),
    }
