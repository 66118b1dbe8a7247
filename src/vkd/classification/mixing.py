"""Mixup and CutMix of fixed pairs, so that a stored output of a mixed image stays true.

The rules are those of timm's ``Mixup`` in its mode ``pair``. timm draws from the process's random
numbers at each step; here a pair's draws follow from the store's seed and the view.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vkd.classification.config import ClassificationConfig
from vkd.errors import FieldError

_RATIO, _SHARE, _BOX = 0, 1, slice(2, 6)


@dataclass(frozen=True)
class MixingRule:
    """What pairs are mixed by.

    Attributes:
        mixup, cutmix: alphas of the ratios' Beta distributions; 0 for none.
        sides: least and largest side of CutMix's patch, as shares of the image's; None for sides
            that follow from the ratio.
        probability: share of pairs that are mixed.
        switch_probability: of these, the share that CutMix gets where both are on.
    """

    mixup: float
    cutmix: float
    sides: tuple[float, float] | None
    probability: float
    switch_probability: float

    @classmethod
    def of(cls, config: ClassificationConfig) -> "MixingRule":
        """Return the rule of a recipe that mixes."""
        sides = (config.cutmix_min, config.cutmix_max) if config.cutmix_max else None
        # As in timm, whose patches of given sides need no ratio but an alpha above 0.
        cutmix = 1.0 if sides else config.cutmix
        return cls(
            config.mixup, cutmix, sides, config.mixup_probability, config.mixup_switch_probability
        )

    def check_size(self, height: int, width: int) -> None:
        """Raise ``FieldError`` for images without a pixel between CutMix's least and largest side.

        timm raises there as well, when it first draws such a side.
        """
        for side in (height, width) if self.sides else ():
            low, high = (int(side * share) for share in self.sides or ())
            if not low < high:
                raise FieldError(
                    "cutmix_max",
                    f"must leave a choice of sides, found {low} to below {high} of {side} pixels.",
                )


class PairMixing:
    """How the rows of a store's views are mixed.

    Args:
        rule: of the recipe.
        height, width: of the images.
        rows_per_view: rows of a view, an even number; rows 2i and 2i + 1 are a pair.
        seed: of the draws.

    Raises:
        FieldError: see ``MixingRule.check_size``.
    """

    def __init__(
        self, rule: MixingRule, height: int, width: int, rows_per_view: int, seed: int
    ) -> None:
        rule.check_size(height, width)
        self.rule, self.size = rule, (height, width)
        self.rows_per_view, self.seed = rows_per_view, seed

    def __call__(self, rows: Tensor) -> Tensor:
        """Return how rows (N,) are mixed with their partners, (N, 6).

        Columns: the share of a row's own label; the share of its own pixels; and the box of the
        partner's pixels: top, bottom, left, right. Both rows of a pair have the same.
        """
        views, places = rows // self.rows_per_view, rows % self.rows_per_view // 2
        found = torch.empty(len(rows), 6)
        for view in views.unique().tolist():
            chosen = views == view
            drawn = drawn_pairs(self.rule, self.size, self.rows_per_view // 2, self.seed, view)
            found[chosen] = drawn[places[chosen]]
        return found


@lru_cache(maxsize=2)
def drawn_pairs(
    rule: MixingRule, size: tuple[int, int], pairs: int, seed: int, view: int
) -> Tensor:
    """Return how the pairs of a view are mixed, (pairs, 6); see ``PairMixing``."""
    # A longer key than that of the pairs' order, and so other random numbers.
    random = np.random.RandomState([seed, view, 1])
    ratios, is_cut = _ratios(rule, pairs, random)
    boxes = _boxes(rule, size, ratios, random)
    boxes[~is_cut | (ratios == 1)] = 0
    areas = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    is_cut &= ratios < 1
    # Of a patch that the image's border clips, the ratio is that of what is left.
    ratios[is_cut] = 1 - areas[is_cut] / (size[0] * size[1])
    shares = np.where(is_cut, 1, ratios)
    return torch.from_numpy(np.column_stack([ratios, shares, boxes]).astype(np.float32))


def _ratios(
    rule: MixingRule, pairs: int, random: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Ratios before patches are placed, and whether each is CutMix's; in timm's order of draws."""
    is_cut = np.full(pairs, not rule.mixup)
    if rule.mixup and rule.cutmix:
        is_cut = random.rand(pairs) < rule.switch_probability
    of_cutmix, of_mixup = (
        random.beta(alpha, alpha, pairs) if alpha else np.ones(pairs)
        for alpha in (rule.cutmix, rule.mixup)
    )
    ratios = np.where(is_cut, of_cutmix, of_mixup).astype(np.float32)
    return np.where(random.rand(pairs) < rule.probability, ratios, np.float32(1)), is_cut


def _boxes(
    rule: MixingRule, size: tuple[int, int], ratios: np.ndarray, random: np.random.RandomState
) -> np.ndarray:
    """Top, bottom, left and right (pairs, 4) of a patch for each ratio."""
    count = len(ratios)
    edges = []
    for side in size:
        if rule.sides:
            low, high = (int(side * share) for share in rule.sides)
            cut = random.randint(low, high, count)
            first = random.randint(0, side - cut + 1)
            edges += [first, first + cut]
        else:
            cut = (side * np.sqrt(1 - ratios)).astype(int)
            centre = random.randint(0, side, count)
            edges += [(centre - cut // 2).clip(0, side), (centre + (cut + 1) // 2).clip(0, side)]
    return np.column_stack(edges)


def mixed_images(images: Tensor, mixing: Tensor) -> Tensor:
    """Return images (N, C, H, W), whose neighbours are pairs, mixed as ``PairMixing`` says.

    Both are on the same device.
    """
    height, width = images.shape[2:]
    top, bottom, left, right = mixing[:, _BOX].T[:, :, None]
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    in_rows = (rows >= top) & (rows < bottom)
    in_columns = (columns >= left) & (columns < right)
    inside = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
    share = torch.where(inside, 0.0, mixing[:, _SHARE, None, None, None]).to(images.dtype)
    return images * share + _partners(images) * (1 - share)


def mixed_labels(labels: Tensor, mixing: Tensor, classes: int, smoothing: float) -> Tensor:
    """Return the shares of classes (N, classes) of mixed images with ``labels`` (N,)."""
    is_label = labels[:, None] == torch.arange(classes, device=labels.device)
    smooth = torch.where(is_label, 1 - smoothing + smoothing / classes, smoothing / classes)
    ratios = mixing[:, _RATIO, None]
    return smooth * ratios + _partners(smooth) * (1 - ratios)


def _partners(items: Tensor) -> Tensor:
    """The other item of each pair of neighbours."""
    return items.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
