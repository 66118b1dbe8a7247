"""Which data set of labelled pictures the names of files look like."""

from pathlib import Path

_TABLES = (".csv", ".tsv", ".parquet")


def dataset_of(path: Path) -> str | None:
    """Return table, wds or hfds for a file or folder that looks like it; None for others.

    Folders of classes have no files by which they are known.
    """

    def holds(*patterns: str) -> bool:
        return any(next(path.glob(pattern), None) is not None for pattern in patterns)

    if not path.is_dir():
        return "table" if path.suffix.lower() in _TABLES else None
    if holds("*.tar", "*/*.tar"):
        return "wds"
    if holds("*.parquet", "*/*.parquet", "dataset_dict.json", "dataset_info.json"):
        return "hfds"
    return "table" if holds("*.csv", "*.tsv") else None
