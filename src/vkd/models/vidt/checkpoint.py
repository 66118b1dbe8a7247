"""ViDT's published checkpoints, and Swin weights to start a body from."""

import re
from typing import Any

from torch import Tensor

from vkd.models.adapter import Adapter
from vkd.models.release import orthogonal_weight
from vkd.models.vidt.variants import SWIN

# Stored by the release and never used: the copies of the box heads, level embeddings, and what
# was meant for detection tokens in merging and after stages.
_UNUSED = re.compile(
    r"transformer\.level_embed$|transformer\.decoder\.bbox_embed\.|backbone\.norm\d\.|"
    r".*\.downsample\.(expansion|norm2)\.|.*\.relative_position_index$|.*\.attn_mask$"
)
_PROJECTOR = re.compile(r"(?:patch|neck_det|body_det)_projector(?:_(\d))?\.(.+)$")
_BY_SIZE = {(swin["embed_dim"], swin["depths"][2]): name for name, swin in SWIN.items()}


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
        elif not _UNUSED.match(key):
            model[key] = value
    projections = {}
    for key, value in parts.items():
        name, rest = key.split(".", 1)
        if rest in ("weight", "bias"):
            projections[key] = value
        elif rest.endswith("original"):
            base = parts.get(f"{name}.projector.parametrizations.weight.0.base")
            projections[f"{name}.projection"] = orthogonal_weight(value, base)
    return model, projections


def name_of(state: dict[str, Tensor]) -> str:
    """Return which ViDT the weights are of; empty for none of ours."""
    blocks = {key.split(".")[4] for key in state if key.startswith("backbone.layers.2.blocks.")}
    return _BY_SIZE.get((state["backbone.det_token"].shape[-1], len(blocks)), "")


def options_of(state: dict[str, Tensor]) -> dict[str, Any]:
    """Return the keyword arguments with which a model fits the weights."""
    has_neck = any(key.startswith("transformer.") for key in state)
    head = "class_embed.0.weight" if has_neck else "class_embed.weight"
    options: dict[str, Any] = {"architecture": "vidt" if has_neck else "vidt_wo_neck"}
    sizes = {
        "num_classes": (head, 0),
        "num_det_tokens": ("backbone.det_token", 1),
        "dim": ("backbone.det_pos_embed", 2),
    }
    # A missing key is reported when the weights are fitted to the model.
    options |= {name: state[key].shape[axis] for name, (key, axis) in sizes.items() if key in state}
    parts = {"fusion": "fusion.", "iou_aware": "iou_embed.", "token_label": "token_embed."}
    found = {name for name, prefix in parts.items() if any(k.startswith(prefix) for k in state)}
    return options | dict.fromkeys(found, True)


def body_weights(swin: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of Swin's weights that a ``SwinBody`` shares, by its names.

    Takes timm's names, where merging opens a stage, and those of Swin's own files, where it ends
    one.
    """
    merges_first = "layers.3.downsample.reduction.weight" in swin
    weights = {}
    for key, value in swin.items():
        if not key.startswith(("patch_embed.", "layers.")) or _UNUSED.match(key):
            continue
        if merges_first and ".downsample." in key:
            _, stage, rest = key.split(".", 2)
            key = f"layers.{int(stage) - 1}.{rest}"
        weights[key] = value
    return weights


ADAPTER = Adapter(
    recognises=is_vidt,
    dimensions={
        "backbone.det_token": 3,
        "backbone.det_pos_embed": 3,
        "class_embed.0.weight": 2,
        "class_embed.weight": 2,
    },
    architecture=lambda state: (name_of(state), options_of(state)),
    split=split_vidt,
)
