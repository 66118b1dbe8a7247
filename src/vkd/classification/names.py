"""Classes by name: what a label of the data is to a network that was trained on other data."""

from collections.abc import Sequence

import timm
import torch
from torch import Tensor

from vkd.data.reader import listed, places_among
from vkd.errors import FieldError
from vkd.notes import say

# The label of an image whose class a network does not know; -1 is one that cannot be read.
UNKNOWN = -2
_IMAGENET = 1000


def places_of_labels(
    names: Sequence[str], known: Sequence[str], outputs: int, network: object
) -> Tensor | None:
    """Return the output of a network that each class of the data is, ``UNKNOWN`` for none.

    None where labels are outputs already. What is guessed or left out is said.

    Args:
        names: of the data's classes.
        known: those that the network names; empty where it names none.
        outputs: its number.
        network: its file or name, for messages.

    Raises:
        FieldError: if no class is known, or a network that names none has other outputs.
    """
    if not known:
        known = _imagenet_folders(names, outputs)
    if not known or _are_numbers_alone(names, known):
        if len(names) != outputs:
            raise FieldError(
                "data_path",
                f": the data have {len(names)} classes ({listed(names)}) and {network} has "
                f"{outputs} outputs without names, so that labels cannot be matched.",
            )
        if list(names) != list(known):
            say(network, [f"no names of classes to compare, so the order is that of the data "
                          f"({listed(names)})"])  # fmt: skip
        return None
    places = places_among(names, known)
    strange = [name for name, place in zip(names, places, strict=True) if place is None]
    if len(strange) == len(names):
        raise FieldError(
            "data_path",
            f": none of the data's classes ({listed(names)}) is known to {network}, which has "
            f"{listed(known)}.",
        )
    if strange:
        say(network, [f"{len(strange)} classes of the data are not known and do not count: "
                      f"{listed(strange)}"])  # fmt: skip
    if places == list(range(len(known))):
        return None
    return torch.tensor([UNKNOWN if place is None else place for place in places])


def _imagenet_folders(names: Sequence[str], outputs: int) -> list[str]:
    """ImageNet's names of folders, where a network has its outputs and the data some of them."""
    if outputs != _IMAGENET:
        return []
    folders = timm.data.ImageNetInfo().label_names()
    return folders if set(names) & set(folders) else []


def _are_numbers_alone(names: Sequence[str], known: Sequence[str]) -> bool:
    """Whether one side has only counted its classes, so that there is nothing to compare."""
    if len(names) != len(known):
        return False
    counted = [[str(i).zfill(width) for i in range(len(names))] for width in _widths(len(names))]
    return (list(names) in counted) != (list(known) in counted)


def _widths(count: int) -> set[int]:
    return {1, len(str(count - 1))}


def logit_order(known: Sequence[str], names: Sequence[str], teacher: str) -> list[int] | None:
    """Return which logit of a teacher belongs to each class of the data; None for their order.

    Args:
        known: the teacher's names of classes; empty where it names none.
        names: the data's.
        teacher: its name, for messages.

    Raises:
        FieldError: if they are of other classes.
    """
    if list(known) == list(names):
        return None
    if not known or _are_numbers_alone(names, known):
        say(f"teacher {teacher}", ["no names of classes to compare, so the order of its logits is "
                                   f"that of the data ({listed(names)})"])  # fmt: skip
        return None
    places = places_among(names, known)
    order = [place for place in places if place is not None]
    if len(order) < len(names) or len(names) != len(known):
        raise FieldError(
            "teacher",
            f"{teacher} knows the classes {listed(known)} and the data have {listed(names)}; "
            "logits can be distilled between the same classes only, so set logit_weight 0.",
        )
    if order == sorted(order):
        return None
    say(f"teacher {teacher}", ["its classes are in another order than the data's, so its logits "
                               "are reordered by name"])  # fmt: skip
    return order
