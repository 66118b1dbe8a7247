"""WebDataset shards as a reader with random access.

timm's own reader is a stream: it cannot resume where a run stopped, nor share images among
processes so that each counts once. Here the shards' headers are read once and images by offset.
"""

import io
import tarfile
from pathlib import Path

import numpy as np

from vkd.errors import UserError

_IMAGES = {".jpg", ".jpeg", ".png", ".webp"}


class ShardReader:
    """Samples KEY.jpg with KEY.cls (the class's number) in tar files, as timm's readers give them.

    Args:
        files: the shards.

    Raises:
        UserError: if a shard is not a tar file, or an image has no class.
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        rows = [row for shard in range(len(files)) for row in self._scan(shard)]
        if not rows:
            raise UserError(f"The shards in {files[0].parent} hold no images with classes.")
        self._rows = np.array(rows, dtype=np.int64)
        count = int(self._rows[:, 3].max()) + 1
        width = len(str(count - 1))
        self.class_to_idx = {str(index).zfill(width): index for index in range(count)}

    def _scan(self, shard: int) -> list[tuple[int, int, int, int]]:
        file = self.files[shard]
        images: dict[str, tuple[int, int]] = {}
        labels: dict[str, int] = {}
        try:
            with tarfile.open(file) as tar:
                for member in tar:
                    name = Path(member.name)
                    key = member.name.removesuffix(name.suffix)
                    if name.suffix.lower() in _IMAGES:
                        images[key] = (member.offset_data, member.size)
                    elif name.suffix == ".cls":
                        content = tar.extractfile(member)
                        labels[key] = int(content.read()) if content else -1
        except (tarfile.TarError, ValueError) as error:
            raise UserError(f"{file} is not a shard of WebDataset: {error}.") from None
        missing = images.keys() - labels.keys()
        if missing:
            raise UserError(f"{file} has no {min(missing)}.cls with the class of the image.")
        return [(shard, *place, labels[key]) for key, place in images.items()]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[io.BytesIO, int]:
        shard, offset, size, label = self._rows[index].tolist()
        with self.files[shard].open("rb") as file:
            file.seek(offset)
            return io.BytesIO(file.read(size)), label

    def filename(self, index: int) -> str:
        """Name of a sample for messages: its shard and offset."""
        shard, offset, *_ = self._rows[index].tolist()
        return f"{self.files[shard]} at byte {offset}"


def find_shards(path: str, names: tuple[str, ...]) -> list[Path]:
    """Return the tar files of a split: in a folder of its name, or with its name in theirs."""
    for name in names:
        found = sorted((Path(path) / name).glob("*.tar")) or sorted(
            Path(path).glob(f"*{name}*.tar")
        )
        if path and found:
            return found
    return []
