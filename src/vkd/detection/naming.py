"""The classes of a detector found among a file's categories by their names."""

from collections import Counter
from typing import Any

from vkd.data.reader import listed
from vkd.detection.categories import Categories
from vkd.errors import FieldError


def aligned(known: Categories, truth: dict[str, Any], source: object, owner: str) -> Categories:
    """Return the classes that are known, with a file's own ids for them.

    Names that several categories have are found by their ids, where these agree. Categories
    without annotations do not matter.

    Args:
        known: the classes of a detector or of the training split.
        truth: clean ground truth.
        source: its file, for messages.
        owner: whose classes these are, for messages.

    Raises:
        FieldError: if objects are of a category that is not known.
    """
    used = {annotation["category_id"] for annotation in truth["annotations"]}
    own = {entry["id"]: entry["name"].strip() for entry in truth["categories"]}
    labels = [label for label, number in enumerate(known.ids) if number >= 0]
    names = {label: known.names[label].strip() for label in labels}
    counts, known_counts = Counter(own.values()), Counter(names.values())
    by_name = {name: label for label, name in names.items()}
    ids, unknown = [-1] * len(known.ids), []
    for number, name in sorted(own.items()):
        label = by_name.get(name)
        if counts[name] > 1 or known_counts[name] > 1:
            same = [place for place in labels if (known.ids[place], names[place]) == (number, name)]
            label = same[0] if same else None
        if label is not None:
            ids[label] = number
        elif number in used:
            unknown.append(name)
    if unknown:
        raise FieldError(
            "data_path",
            f": {str(source)[-90:]} has objects of {listed(unknown, 3)}, which the {owner} does "
            f"not have; it has {listed(names.values(), 3)}.",
        )
    return Categories(ids, known.names)
