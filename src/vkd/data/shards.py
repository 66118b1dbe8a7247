"""WebDataset shards as a reader with random access.

timm's own reader is a stream: it cannot resume where a run stopped, nor share images among
processes so that each counts once. Here the shards' headers are read once and images by offset.
"""

import io
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from vkd.data.catalogue import MOST_CLASSES
from vkd.data.pictures import picture_suffixes
from vkd.data.reader import (
    UNLABELLED,
    Labels,
    counted_notes,
    empty_note,
    is_number,
    listed,
    suffix_note,
)
from vkd.data.sources import Opened, PhotographSource, existing_folder, open_splits
from vkd.data.split_names import split_within, splits_among
from vkd.errors import UserError

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}
# A label is a number or a name; nothing longer is one.
_LONGEST_LABEL = 1000


class ShardReader:
    """Samples KEY.jpg with KEY.cls in tar files; a ``PictureReader``.

    The label is a number from 0, or a name. Pictures have any suffix of ``picture_suffixes``.

    Args:
        files: the shards.
        root: the folder of the data.
        labelled: False to read pictures alone, with classes or without.

    Raises:
        UserError: if a shard is no plain tar file or damaged, or a picture has no proper class.
    """

    def __init__(self, files: list[Path], root: Path, labelled: bool = True) -> None:
        self.files, self.root, self._is_labelled = files, root, labelled
        self.source = str(files[0].parent)
        self._others: Counter[str] = Counter()
        self._left_out: dict[str, list[str]] = {
            "links and other entries that are no files": [],
            "classes without a picture": [],
        }
        rows, texts = [], []
        for shard, file in enumerate(files):
            images, labels = self._scan(file)
            for key, place in images.items():
                rows.append((shard, *place))
                texts.append(labels[key] if labelled else UNLABELLED[0])
        if not rows:
            what = "pictures with classes" if labelled else "pictures"
            raise UserError(f"The shards in {self.source} hold no {what}.")
        self._rows = np.array(rows, dtype=np.int64)
        self.classes, self.labels = _classes(texts, self.source)
        self.notes = self._notes()

    def _scan(self, file: Path) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
        try:
            with file.open("rb") as opened:
                start = opened.read(2)
            if start in _COMPRESSED:
                raise UserError(
                    f"{file} is compressed ({_COMPRESSED[start]}), so that no picture can be read "
                    "by its place; unpack it to a plain tar file."
                )
            with tarfile.open(file, "r:") as tar:
                return self._read_headers(tar, file)
        except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{file} is not a shard of WebDataset, or damaged: {str(error)[:100]}."
            ) from None

    def _read_headers(
        self, tar: tarfile.TarFile, file: Path
    ) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
        images: dict[str, tuple[int, int]] = {}
        labels: dict[str, str] = {}
        length = file.stat().st_size
        for member in tar:
            name = PurePosixPath(member.name)
            if member.isdir() or any(p[0] == "." or p == "__MACOSX" for p in name.parts if p):
                continue
            key, suffix = member.name.removesuffix(name.suffix), name.suffix.lower()
            is_label = suffix == ".cls" and self._is_labelled
            if suffix not in picture_suffixes() and not is_label:
                self._others[suffix or "no suffix"] += 1
                continue
            # A link may lead outside of the shard, and a sparse file's bytes lie apart.
            if not member.isreg() or member.issparse():
                self._left_out["links and other entries that are no files"].append(member.name)
                continue
            if member.offset_data + member.size > length:
                raise UserError(
                    f"{file} is damaged: {member.name[:60]} has {member.size:,} bytes by its "
                    f"header, more than the file's {length:,}."
                )
            if key in (labels if is_label else images):
                raise UserError(f"{file} has two entries for {member.name[:80]}; remove one.")
            if is_label:
                labels[key] = _label_text(tar, member, file)
            else:
                images[key] = (member.offset_data, member.size)
        missing = images.keys() - labels.keys() if self._is_labelled else ()
        if missing:
            raise UserError(
                f"{file} has no {min(missing)[:80]}.cls with the class of the image; "
                f"{len(missing):,} lack theirs."
            )
        self._left_out["classes without a picture"] += labels.keys() - images.keys()
        return images, labels

    def _notes(self) -> list[str]:
        notes = suffix_note(
            self._others, "entry that is no picture", "entries that are no pictures"
        )
        return notes + counted_notes(self._left_out) + empty_note(self.classes, self.labels)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[io.BytesIO, int]:
        shard, offset, size = self._rows[index].tolist()
        with self.files[shard].open("rb") as file:
            file.seek(offset)
            return io.BytesIO(file.read(size)), int(self.labels[index])

    def filename(self, index: int) -> str:
        """Name of a sample for messages: its shard and offset."""
        shard, offset, _ = self._rows[index].tolist()
        return f"{self.files[shard]} at byte {offset}"

    def sources(self) -> list[tuple[str, Path]]:
        """Return the shards, with names relative to the data's folder."""
        return [(file.relative_to(self.root).as_posix(), file) for file in self.files]


def _label_text(tar: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> str:
    content = tar.extractfile(member) if member.size <= _LONGEST_LABEL else None
    try:
        text = content.read().decode().strip() if content else ""
    except UnicodeDecodeError:
        text = ""
    if not text or "\n" in text:
        raise UserError(
            f"{file} has {member.name[:80]}, which holds no class: a number from 0, or a name."
        )
    if text.startswith("-") and is_number(text):
        raise UserError(f"{file} has {member.name[:80]} with class {text}; classes are from 0.")
    return text


def _classes(texts: Sequence[str], source: str) -> tuple[list[str], Labels]:
    """Names and labels: numbers are places among the classes, other texts names."""
    if not all(text.isascii() and text.isdigit() for text in texts):
        names, labels = np.unique(np.array(texts), return_inverse=True)
        return names.tolist(), labels.reshape(-1).astype(np.int64)
    highest = max(texts, key=lambda text: (len(text.lstrip("0")), text.lstrip("0")))
    most = min(MOST_CLASSES, 1000 + 10 * len(texts))
    if len(highest.lstrip("0")) > 9 or int(highest) >= most:
        raise UserError(
            f"{source} has a class {highest[:30]} among {len(texts):,} pictures; numbers of "
            f"classes must be below {most:,}."
        )
    count = int(highest) + 1
    width = len(str(count - 1))
    return [str(index).zfill(width) for index in range(count)], np.array(texts).astype(np.int64)


def read_shards(source: PhotographSource) -> Opened:
    """Open the splits of shards: folders of their names, or files with these in theirs.

    Raises:
        UserError: if there are none, or one cannot be read.
    """
    root = existing_folder(source.path)
    files, left_out = _find_shards(root)
    names = splits_among(files, root)
    if not names and left_out and not source.labelled:
        every = [root / name for name in left_out]
        return Opened({"train": ShardReader(every, root, labelled=False)})
    if not names:
        raise UserError(
            f"{root} has no shards named after a split, such as train-000.tar or train/000.tar; "
            f"found {listed(left_out) if left_out else 'no tar files'}."
        )
    opened = open_splits(names, lambda name, train: ShardReader(files[name], root, source.labelled))
    opened.notes += counted_notes({"tar files that name no split": left_out})
    return opened


def _find_shards(root: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The shards by the name of their split as it is written, and those that name none."""
    found: dict[str, list[Path]] = {}
    left_out = []
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        is_folder = entry.is_dir() and entry.suffix.lower() != ".tar"
        inside = sorted(entry.iterdir()) if is_folder and split_within(entry.name) else [entry]
        word = split_within(entry.name.removesuffix(".tar"))
        for file in inside:
            if not file.name.lower().endswith((".tar", ".tar.gz", ".tgz")) or file.name[0] == ".":
                continue
            if word is not None and file.is_file():
                found.setdefault(word.lower(), []).append(file)
            else:
                left_out.append(file.relative_to(root).as_posix())
    return found, left_out
