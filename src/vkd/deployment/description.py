"""What exported files say of themselves."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from vkd.errors import UserError, shortened
from vkd.inputs import InputFormat
from vkd.models.metadata import check_metadata
from vkd.models.onnx_network import OnnxNetwork

SUFFIXES = (".onnx", ".pt2")
# Where torch.export keeps ``extra_files``: below the archive's own name.
_EXTRA = "/extra/"
_MOST_BYTES = 2**24


@dataclass(frozen=True)
class ExportedFile:
    """What an exported file says of itself.

    Attributes:
        file: the file.
        metadata: all entries as they stand in the file: text, most of it JSON.
    """

    file: Path
    metadata: dict[str, str]

    @property
    def task(self) -> str:
        """The task of the network, such as classification; empty if the file is none of ours."""
        return self.metadata.get("task", "")

    @property
    def architecture(self) -> str:
        """The name of the network."""
        return self.metadata.get("architecture", "")

    @property
    def classes(self) -> list[str]:
        """Names of the classes, or of a detector's categories, by output; empty if not known."""
        categories = self._read("categories", {})
        return categories.get("names") or self._read("classes", [])

    @property
    def inputs(self) -> InputFormat | None:
        """How pictures are prepared; None for networks that take none."""
        found = self._read("inputs", {})
        return InputFormat.from_dict(found) if found else None

    @property
    def takes(self) -> dict[str, Any]:
        """``shape`` and ``dtype`` of each input by name; the first side is the batch."""
        return self._read("takes", {})

    @property
    def gives(self) -> list[str]:
        """Names of the outputs."""
        return self._read("gives", [])

    @property
    def license(self) -> str:
        """The licence of the weights, as their file named it; empty if it did not."""
        return self.metadata.get("license", "")

    @property
    def quantization(self) -> dict[str, Any]:
        """How the file was quantised, with the metric before and after; empty for float."""
        return self._read("quantization", {})

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that wrote the file."""
        return self._read("versions", {})

    def _read(self, entry: str, default: Any) -> Any:
        return json.loads(self.metadata[entry]) if entry in self.metadata else default


def read_exported(path: str | Path) -> ExportedFile:
    """Return what an exported file says of itself; nothing in it is run.

    Args:
        path: an ``.onnx`` or ``.pt2`` file of ``vkd.export``.

    Raises:
        UserError: if it is not there, is no such file, or says what has no meaning.
    """
    file = Path(path)
    if file.suffix not in SUFFIXES or not file.is_file():
        raise UserError(f"There is no .onnx or .pt2 file at {shortened(file, 200)}.")
    metadata = OnnxNetwork(file).metadata if file.suffix == ".onnx" else _extra_files(file)
    check_metadata(metadata, file)
    return ExportedFile(file, metadata)


def _extra_files(file: Path) -> dict[str, str]:
    """The texts beside a program of torch.export, which torch reads with the program alone."""
    try:
        with ZipFile(file) as archive:
            return {
                part.filename.split(_EXTRA)[1]: archive.read(part).decode()
                for part in archive.infolist()
                if _EXTRA in part.filename and part.file_size <= _MOST_BYTES
            }
    except (BadZipFile, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{shortened(file, 150)} cannot be read: {error}.") from None
