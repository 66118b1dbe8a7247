"""Which columns of a table hold the pictures, their labels and their split."""

from collections.abc import Sequence

from vkd.data.reader import UnlabelledError, listed
from vkd.errors import FieldError

IMAGE_COLUMNS = (
    "path", "file", "file_name", "filename", "filepath", "file_path", "image", "image_path", "img",
)  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "target", "category")
SPLIT_COLUMNS = ("split", "set", "subset", "partition")


def usual(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns with one of the usual names, in any case."""
    return [column for column in columns if column.strip().lower() in names]


def chosen_column(
    field: str, wanted: str, candidates: Sequence[str], columns: Sequence[str], source: object
) -> str:
    """Return the column of a field: as wanted, else the only candidate.

    Args:
        field: ``image_column`` or ``label_column``.
        wanted: its value; empty to find it.
        candidates: that may be meant.
        columns: all there are.
        source: for messages.

    Raises:
        FieldError: if the wanted one is not there, or there are several candidates.
        UnlabelledError: if no column may hold labels.
    """
    found = f"the columns of {source} are {listed(columns, 12)}"
    if wanted:
        if wanted not in columns:
            raise FieldError(field, f"{wanted} is not there; {found}.")
        return wanted
    if len(candidates) == 1:
        return candidates[0]
    if not candidates and field == "label_column":
        raise UnlabelledError(f"{source} has no column of labels that is known by its name; set "
                         f"label_column (--label-column), {found}.")  # fmt: skip
    what = f"must say which of {listed(candidates)} is meant" if candidates else "must be given"
    raise FieldError(field, f"{what}; {found}.")
