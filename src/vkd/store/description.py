"""What a store of a teacher's outputs says of itself, in ``store.json``."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from vkd.errors import FieldError
from vkd.ranges import require_range

DESCRIPTION_FILE = "store.json"
DTYPES = ("float16", "float32", "int8")
_LARGEST_SEED, _LARGEST_ROW = 2**32 - 1, 2**63 - 1
_PICTURES = {"listing", "times", "contents"}


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """What a user chooses of a store.

    Attributes:
        views: augmented views of each image; 0 for one, where no augmentation is random.
        dtype: of the features: float16, float32, or int8 with a scale for each row; logits are
            float16 beside int8.
        top_k: logits to keep of each row, the largest; 0 for all.

    Raises:
        FieldError: for values that are none of these.
    """

    views: int = 0
    dtype: str = "float16"
    top_k: int = 0

    def __post_init__(self) -> None:
        for name in ("views", "top_k"):
            require_range(name, vars(self)[name], 0, 1_000_000)
        if self.dtype not in DTYPES:
            raise FieldError("dtype", f"must be one of {', '.join(DTYPES)}, found {self.dtype!r}.")


@dataclass(frozen=True)
class StoreDescription:
    """What a store holds.

    Attributes:
        images: of the data set that the teacher saw.
        views: augmented views of each; their rows follow each other, see ``vkd.data.views.Views``.
        seed: of the augmentation, and of pairs.
        dtype: of the features, float16, float32 or int8; see ``vkd.store.layout.RowLayout``.
        classes: names of the classes of the data.
        recipe: the settings that decide the teacher's inputs and outputs.
        rows_per_file: rows in each file but the last.
        pictures: digests of the images, see ``vkd.data.fingerprint``; empty in stores of earlier
            versions, and for data given as objects.
        teacher_weights: digest of the teacher's weights; empty until the teacher is there, and in
            stores of earlier versions.
        top_k: logits that are kept of each row; 0 for all.
        pairs: whether the rows of each view are pairs of images that are mixed.
    """

    images: int
    views: int
    seed: int
    dtype: str
    classes: list[str]
    recipe: dict[str, Any] = field(default_factory=dict)
    rows_per_file: int = 16384
    pictures: dict[str, str] = field(default_factory=dict)
    teacher_weights: str = ""
    top_k: int = 0
    pairs: bool = False

    @property
    def rows_per_view(self) -> int:
        """Rows of a view; of an odd number of images pairs leave one out."""
        return self.images - self.images % 2 if self.pairs else self.images

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.rows_per_view * self.views

    @property
    def files(self) -> int:
        """Files in all."""
        return -(-self.rows // self.rows_per_file)

    def rows_of(self, number: int) -> range:
        """Return the rows of a file."""
        first = number * self.rows_per_file
        return range(first, min(first + self.rows_per_file, self.rows))


def describe(folder: Path) -> StoreDescription:
    """Return what a store holds.

    Raises:
        ValueError: if the folder is no store, or one whose description is damaged.
    """
    file = folder / DESCRIPTION_FILE
    if not file.is_file():
        raise ValueError(f"{folder} is no store of a teacher's outputs.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise ValueError(f"{file} cannot be read as JSON; make a new store.") from None
    known = {item.name: item for item in fields(StoreDescription)}
    if not isinstance(content, dict) or not content.keys() <= known.keys():
        raise ValueError(f"{file} does not describe a store; make a new store.")
    for name, (holds, expected) in _RULES.items():
        value = content.get(name, known[name].default)
        if (name in content or name in _REQUIRED) and not holds(value):
            found = repr(value)[:60] if name in content else "nothing"
            raise ValueError(f"{file}: {name} must be {expected}, found {found}.")
    description = StoreDescription(**content)
    if description.pairs and (description.rows_per_file % 2 or description.images < 2):
        raise ValueError(
            f"{file}: pairs need two images and an even rows_per_file, found {description.images} "
            f"and {description.rows_per_file}."
        )
    if description.rows > _LARGEST_ROW:
        raise ValueError(
            f"{file}: images x views must be below 2^63, found {description.rows:.1e}."
        )
    return description


def _is_whole(value: Any, least: int, most: int = _LARGEST_ROW) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _are_texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


_COUNT = (lambda value: _is_whole(value, 1), "a whole number of at least 1")
_REQUIRED = ("images", "views", "seed", "dtype", "classes")
_RULES: dict[str, tuple[Any, str]] = {
    "images": _COUNT,
    "views": _COUNT,
    "seed": (
        lambda value: _is_whole(value, 0, _LARGEST_SEED),
        f"a whole number from 0 to {_LARGEST_SEED}",
    ),
    "dtype": (lambda value: value in DTYPES, f"one of {', '.join(DTYPES)}"),
    "classes": (lambda value: isinstance(value, list) and _are_texts(value), "a list of names"),
    "recipe": (lambda value: isinstance(value, dict), "a mapping"),
    "rows_per_file": _COUNT,
    "pictures": (
        lambda value: (
            isinstance(value, dict) and value.keys() <= _PICTURES and _are_texts(value.values())
        ),
        f"digests by {', '.join(sorted(_PICTURES))}",
    ),
    "teacher_weights": (lambda value: isinstance(value, str), "a digest"),
    "top_k": (lambda value: _is_whole(value, 0), "a whole number of at least 0"),
    "pairs": (lambda value: isinstance(value, bool), "true or false"),
}
