"""Which data set of labelled pictures the names of files look like."""

from pathlib import Path

_TABLES = (".csv", ".tsv", ".parquet")


def holds(folder: Path, *patterns: str) -> bool:
    """Return whether a folder has a file of one of some patterns of names."""
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)


def dataset_of(path: Path) -> str | None:
    """Return table, wds or hfds for a file or folder that looks like it; None for others.

    Folders of classes have no files by which they are known.
    """

    if not path.is_dir():
        return "table" if path.suffix.lower() in _TABLES else None
    if holds(path, "*.tar", "*/*.tar"):
        return "wds"
    if holds(path, "*.parquet", "*/*.parquet", "dataset_dict.json", "dataset_info.json"):
        return "hfds"
    return "table" if holds(path, "*.csv", "*.tsv") else None
