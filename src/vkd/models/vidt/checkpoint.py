"""ViDT's published checkpoints, and the backbone's weights to start a body from."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from vkd.models.adapter import Adapter
from vkd.models.release import orthogonal_weight
from vkd.models.vidt.names import backbone_name, detector_name, one_name
from vkd.models.vidt.variants import COAT, SWIN

_PROJECTOR = re.compile(r"(?:patch|neck_det|body_det)_projector(?:_(\d))?\.(.+)$")
_SWIN_BY_SIZE = {(swin["embed_dim"], swin["depths"][2]): name for name, swin in SWIN.items()}
_COAT_BY_SIZE = {(coat["dims"][3], coat["depths"][2]): name for name, coat in COAT.items()}
_SWIN_BLOCK = re.compile(r"backbone\.layers\.2\.blocks\.(\d+)\.")
_COAT_BLOCK = re.compile(r"backbone\.stages\.2\.blocks\.(\d+)\.")
_LAYER = re.compile(r"transformer\.decoder\.layers\.(\d+)\.")
# What the release's own record of its flags tells, by our keyword arguments.
_FLAGS = {"cross_stages": "cross_indices", "num_heads": "nheads", "num_points": "dec_n_points"}


def is_vidt(state: dict[str, Tensor]) -> bool:
    """Whether the weights are of a ViDT detector."""
    return "backbone.det_token" in state


def split_vidt(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a release's weights into the detector's and those of its token projections.

    The latter are, for each of ``patch_0`` to ``patch_3``, ``body`` and ``neck``, the orthonormal
    matrix ``NAME.projection`` (256, 256) and the learned ``NAME.weight`` and ``NAME.bias`` (256,).
    """
    model, parts = {}, {}
    for key, value in state.items():
        if found := _PROJECTOR.match(key):
            name = f"patch_{int(found[1]) - 1}" if found[1] else key.split("_")[0]
            parts[f"{name}.{found[2]}"] = value
        elif (own := detector_name(key)) is not None:
            model[own] = value
    projections = {}
    for key, value in parts.items():
        name, rest = key.split(".", 1)
        if rest in ("weight", "bias"):
            projections[key] = value
        elif rest.endswith("original"):
            base = parts.get(f"{name}.projector.parametrizations.weight.0.base")
            projections[f"{name}.projection"] = orthogonal_weight(value, base)
    return model, projections


def architecture_of(state: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Return the name of the detector that weights are of, empty for none of ours, and the keyword
    arguments with which it fits them."""
    named = {own: value for key, value in state.items() if (own := detector_name(key))}
    return _name_of(named), _options_of(named, _is_refined(state))


def _name_of(state: dict[str, Tensor]) -> str:
    width = state.get("backbone.stages.3.class_token")
    if width is not None:
        return _COAT_BY_SIZE.get((width.shape[-1], _count(_COAT_BLOCK, state)), "")
    token = state["backbone.det_token"]
    return _SWIN_BY_SIZE.get((token.shape[-1], _count(_SWIN_BLOCK, state)), "")


def _count(pattern: re.Pattern[str], state: dict[str, Tensor]) -> int:
    """How many numbers a pattern finds in names."""
    return len({found[1] for key in state if (found := pattern.match(key))})


def _is_refined(state: dict[str, Tensor]) -> bool:
    """Whether each layer refines boxes by a head of its own.

    The release keeps a second name for such heads; without refinement one is stored for all.
    """
    if any(key.startswith("transformer.decoder.bbox_embed.") for key in state):
        return True
    first, second = (state.get(f"bbox_embed.{i}.layers.0.weight") for i in (0, 1))
    return first is None or second is None or not first.equal(second)


def _options_of(state: dict[str, Tensor], is_refined: bool) -> dict[str, Any]:
    has_neck = any(key.startswith("transformer.") for key in state)
    options: dict[str, Any] = {"architecture": "vidt" if has_neck else "vidt_wo_neck"}
    sizes = {
        "num_det_tokens": ("backbone.det_token", 1),
        "position_dim": ("backbone.det_pos_embed", 2),
    }
    if has_neck:
        sizes |= {
            "num_classes": ("class_embed.0.weight", 0),
            "dim": ("tgt_proj.0.weight", 0),
            "feed_forward": ("transformer.decoder.layers.0.linear1.weight", 0),
        }
        options |= {"num_layers": _count(_LAYER, state), "box_refinement": is_refined}
    else:
        sizes |= {"dim": ("input_proj.0.weight", 0)}
        if "class_embed.layers.2.weight" in state:
            # The last is "no object".
            options["num_classes"] = len(state["class_embed.layers.2.weight"]) - 1
    # A missing key is reported when the weights are fitted to the model.
    options |= {name: state[key].shape[axis] for name, (key, axis) in sizes.items() if key in state}
    parts = {"fusion": "fusion.", "iou_aware": "iou_embed.", "token_label": "token_embed."}
    found = {name for name, prefix in parts.items() if any(k.startswith(prefix) for k in state)}
    return options | dict.fromkeys(found, True)


def told_by_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments that the release's record of its flags tells."""
    return {name: flags[flag] for name, flag in _FLAGS.items() if flag in flags}


def _one_name(state: dict[str, Tensor]) -> Callable[[str], str]:
    return partial(one_name, shares_heads=not _is_refined(state))


def body_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of a backbone's weights that a body shares, by its names.

    Takes timm's names of Swin, where merging opens a stage, those of Swin's own files, where it
    ends one, and those of CoaT-lite.
    """
    merges_first = "layers.3.downsample.reduction.weight" in weights
    found = {}
    for key, value in weights.items():
        own = backbone_name(key)
        if own is None:
            continue
        if merges_first and ".downsample." in own:
            _, stage, rest = own.split(".", 2)
            own = f"layers.{int(stage) - 1}.{rest}"
        found[own] = value
    return found


ADAPTER = Adapter(
    recognises=is_vidt,
    dimensions={
        "backbone.det_token": 3,
        "backbone.det_pos_embed": 3,
        "class_embed.0.weight": 2,
        "class_embed.layers.2.weight": 2,
    },
    architecture=architecture_of,
    told_by_flags=told_by_flags,
    one_name=_one_name,
    split=split_vidt,
)
