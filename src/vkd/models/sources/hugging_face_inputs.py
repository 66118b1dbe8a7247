"""How networks of Hugging Face take images, found by trying their own image processors."""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from vkd.models.sources.hugging_face_files import found_file
from vkd.notes import say

_HEIGHT, _WIDTH = 480, 640  # of a picture that is tried


@cache
def processor_inputs(own: str) -> dict[str, Any]:
    """Return mean, std, size, crop and interpolation of a network's image processor.

    As timm's ``pretrained_cfg``; empty, which is said, where it has none that can be used.
    """
    from transformers import AutoImageProcessor

    named = [
        found_file(own, name) for name in ("preprocessor_config.json", "processor_config.json")
    ]
    if not any(named):
        say(f"hf/{own}", ["it has no preprocessor_config.json, so its mean, std and crop are not "
                          "known"])  # fmt: skip
        return {}
    try:
        processor = AutoImageProcessor.from_pretrained(own, trust_remote_code=False)
        return _measured(processor)
    # What a processor makes of odd settings is of no fixed kind.
    except Exception as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        say(f"hf/{own}", [f"its image processor cannot be used ({reason}), so its mean, std and "
                          "crop are not known"])  # fmt: skip
        return {}


def _measured(processor: Any) -> dict[str, Any]:
    """By its outputs for a black and a white picture, whatever settings lead to them."""
    black, white = (_processed(processor, value) for value in (0, 255))
    std = 1 / (white - black).mean((1, 2))
    mean = -black.mean((1, 2)) * std
    height, width = black.shape[1:]
    return {
        "mean": tuple(round(float(value), 6) for value in mean),
        "std": tuple(round(float(value), 6) for value in std),
        "input_size": (len(mean), height, width),
        "crop_pct": _crop(processor, min(height, width)),
        "interpolation": Image.Resampling(int(processor.resample)).name.lower(),
    }


def _processed(processor: Any, value: int) -> np.ndarray:
    picture = Image.fromarray(np.full((_HEIGHT, _WIDTH, 3), value, np.uint8))
    return np.asarray(processor(images=[picture], return_tensors="pt")["pixel_values"][0])


def _crop(processor: Any, side: int) -> float:
    """The share of a resized picture's short side that is kept."""
    settings = processor.to_dict()
    share = settings.get("crop_pct")  # ConvNeXt's, of small sides alone
    if share and side < 384:
        return float(share)
    if not settings.get("do_center_crop") or not settings.get("do_resize", True):
        return 1.0
    size = dict(settings.get("size") or {})
    short = size.get("shortest_edge") or min(size.get("height", side), size.get("width", side))
    return min(1.0, side / short)
