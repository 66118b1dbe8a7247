"""Detection data in COCO's format: read, checked, and served with labels for category ids."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from faster_coco_eval import COCO
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.datasets import CocoDetection, VisionDataset
from torchvision.ops import box_convert

from vkd.data.pictures import open_picture
from vkd.data.unreadable import Unreadable
from vkd.data.workers import loader_of
from vkd.detection.categories import Categories
from vkd.detection.identifiers import OriginalIds
from vkd.detection.segmentations import mask_of

Batch = dict[str, Any]


class CocoImages(CocoDetection):
    """Images with boxes; items are (image, target).

    A target holds ``boxes`` (K, 4), centre and size in 0..1; ``labels`` (K,); ``image_id``;
    ``original_size`` (height, width) of the picture that was read; ``is_readable``; and ``masks``
    (K, H, W) with ``with_masks``. Crowds, and boxes without area inside the image, are left out
    of targets; ``ground_truth`` keeps them for COCO's metrics.

    In training, the next readable picture takes the place of an unreadable one. In evaluation it
    is black, without objects and not ``is_readable``, and metrics leave it out.

    Args:
        root: folder of the images.
        ground_truth: in COCO's format.
        categories: the classes.
        transforms: of (image, target) with tv_tensors; ends in a float image tensor.
        with_masks: also serve the masks of objects.
        substitute: True in training.
        max_corrupt: unreadable pictures to skip before ``RunError``.
        source: the file that the ground truth was read from, for messages.
        original: the ids that this file has.
        notes: what was mended, left out or guessed while it was read.

    Raises:
        RunError: when there are more unreadable pictures.
    """

    def __init__(
        self,
        root: str | Path,
        ground_truth: dict[str, Any],
        categories: Categories,
        transforms: Callable,
        with_masks: bool = False,
        *,
        substitute: bool = False,
        max_corrupt: int = 100,
        source: str = "",
        original: OriginalIds | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        # CocoDetection's own constructor reads a file, with another library.
        VisionDataset.__init__(self, root, transforms)
        self.ground_truth, self.categories, self.with_masks = ground_truth, categories, with_masks
        self.coco = COCO(ground_truth)
        self.ids = sorted(self.coco.imgs)
        self.substitute = substitute
        self.source, self.original = source or str(root), original or OriginalIds()
        self.unreadable = Unreadable(len(self.ids), max_corrupt, self.source)
        self.notes = list(notes)

    def sources(self) -> list[tuple[str, Path]]:
        """Return the name and the path of each picture."""
        names = [self.coco.imgs[image_id]["file_name"] for image_id in self.ids]
        return [(name, Path(self.root) / name) for name in names]

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        place, image = self.unreadable.readable(
            index, lambda place: self._load_image(self.ids[place]), self.substitute
        )
        if image is None:
            return self._item(Image.new("RGB", (8, 8)), self.ids[place], is_readable=False)
        return self._item(image, self.ids[place])

    def picture(self, index: int) -> Image.Image:
        """Return the picture of an item as its file has it.

        Raises:
            UserError: if it cannot be read.
        """
        return self._load_image(self.ids[index])

    def _load_image(self, id: int) -> Image.Image:
        return open_picture(Path(self.root) / self.coco.imgs[id]["file_name"])

    def _objects(self, image_id: int, size: tuple[int, int]) -> list[dict[str, Any]]:
        annotations = [a for a in self._load_target(image_id) if not a.get("iscrowd", 0)]
        return [a for a in annotations if _area_inside(a["bbox"], size)]

    def _item(
        self, image: Image.Image, image_id: int, is_readable: bool = True
    ) -> tuple[Tensor, dict[str, Any]]:
        size = (image.height, image.width)
        annotations = self._objects(image_id, size) if is_readable else []
        labels = self.categories.labels
        boxes = torch.tensor([a["bbox"] for a in annotations], dtype=torch.float32).view(-1, 4)
        target: dict[str, Any] = {
            "boxes": tv_tensors.BoundingBoxes(
                box_convert(boxes, "xywh", "xyxy"), format="XYXY", canvas_size=size
            ),
            "labels": torch.tensor([labels[a["category_id"]] for a in annotations]).long(),
        }
        if self.with_masks:
            # Polygons are drawn on the picture that was read, whatever size the file claims.
            self.coco.imgs[image_id].update(height=size[0], width=size[1])
            masks = [torch.as_tensor(mask_of(self.coco, a, size)) for a in annotations]
            stacked = torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.uint8)
            target["masks"] = tv_tensors.Mask(stacked)
        tensor, target = self.transforms(image, target)
        height, width = tensor.shape[-2:]
        scale = torch.tensor([width, height, width, height])
        plain = torch.as_tensor(target["boxes"]).as_subclass(Tensor)
        target["boxes"] = box_convert(plain, "xyxy", "cxcywh") / scale
        if self.with_masks:
            target["masks"] = target["masks"].as_subclass(Tensor)
        target["original_size"] = torch.tensor(size)
        target["image_id"] = torch.tensor(image_id)
        target["is_readable"] = torch.tensor(is_readable)
        return tensor, target


def _area_inside(bbox: list[float], size: tuple[int, int]) -> bool:
    left, top, width, height = bbox
    right, bottom = min(left + width, size[1]), min(top + height, size[0])
    return right > max(left, 0) and bottom > max(top, 0)


def detection_loader(
    images: CocoImages,
    batch_size: int,
    shuffle: bool = False,
    workers: int = 0,
    pin_memory: bool = True,
) -> DataLoader:
    """Return batches of ``images``, a list of (3, H, W), and their ``targets``, a list of dicts.

    Memory is pinned where there is CUDA. Shuffled batches leave out an incomplete last one.
    """
    return loader_of(
        images,
        batch_size,
        workers=workers,
        pin_memory=pin_memory,
        shuffle=shuffle,
        drop_last=shuffle,
        collate_fn=_as_lists,
    )


def _as_lists(items: list[tuple[Tensor, dict[str, Tensor]]]) -> Batch:
    images, targets = zip(*items, strict=True)
    return {"images": list(images), "targets": list(targets)}
