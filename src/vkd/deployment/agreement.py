"""How like each other the outputs of two exported files are."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from vkd.deployment.check import outputs_of
from vkd.deployment.samples import Inputs
from vkd.errors import RunError
from vkd.models.onnx_network import OnnxNetwork


@dataclass(frozen=True)
class Agreement:
    """How like each other outputs are.

    Attributes:
        pictures: that were compared.
        cosine: mean over pictures, of all outputs of one picture.
        lowest_cosine: of any picture.
        same_class: share in % of pictures with the same largest output; None without classes.
    """

    pictures: int
    cosine: float
    lowest_cosine: float
    same_class: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the fields as JSON knows them."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"cosine {self.cosine:.4f}, the lowest {self.lowest_cosine:.4f}"
        share = "" if self.same_class is None else f", the same class {self.same_class:.1f} %"
        return f"{text}{share}, of {self.pictures}"


def agreement(first: Path, second: Path, batches: Iterable[Inputs], has_classes: bool) -> Agreement:
    """Run two ``.onnx`` files on the same inputs.

    Args:
        first, second: the files.
        batches: of inputs.
        has_classes: whether the largest of the first output names a class.

    Raises:
        RunError: if an output of the second is no number.
    """
    networks = OnnxNetwork(first), OnnxNetwork(second)
    cosines: list[Tensor] = []
    same: list[Tensor] = []
    for inputs in batches:
        one, two = (outputs_of(network(*inputs.values())) for network in networks)
        cosines.append(F.cosine_similarity(_joined(one), _joined(two)))
        same.append(one[0].flatten(1).argmax(1) == two[0].flatten(1).argmax(1))
    every = torch.cat(cosines)
    if not every.isfinite().all():
        raise RunError("The 8-bit network gives outputs that are no numbers; it was not kept.")
    share = 100 * float(torch.cat(same).float().mean()) if has_classes else None
    return Agreement(len(every), float(every.mean()), float(every.min()), share)


def _joined(outputs: list[Tensor]) -> Tensor:
    """All outputs (N, D) of each picture."""
    return torch.cat([part.float().flatten(1) for part in outputs], 1)
