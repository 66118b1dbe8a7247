"""The data sets of detection by name. A new one is a file beside this one and a line here.

Each reader takes ``vkd.detection.data.Request`` and returns ``CocoImages`` by split. Imports no
torch, so that the command line can check names at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DetectionEntry:
    """A data set before it is read.

    Attributes:
        reader: the function that reads it, or ``module:function``, imported when first used.
        needs_path: whether it is read from a folder that the recipe names.
        has_masks: whether its objects have masks.
    """

    reader: str | Callable[..., Any]
    needs_path: bool = True
    has_masks: bool = True


DETECTION_DATASETS: dict[str, DetectionEntry] = {
    "coco": DetectionEntry("vkd.detection.data:read_coco_splits"),
    "yolo": DetectionEntry("vkd.detection.data:read_yolo_splits"),
    "voc": DetectionEntry("vkd.detection.data:read_voc_splits", has_masks=False),
    "digits-detection": DetectionEntry(
        "vkd.detection.canvases:read_digit_canvases", needs_path=False, has_masks=False
    ),
}
