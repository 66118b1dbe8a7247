"""``vkd.from_pretrained``."""

from pathlib import Path

import timm
from torch import nn

from vkd.errors import UserError, reason_of, shortened
from vkd.files import read_json
from vkd.hub.model import model_of_checkpoint
from vkd.hub.names import CONFIG, WEIGHTS, is_repository
from vkd.hub.repository import fetch
from vkd.models.checkpoints import Checkpoint, load_checkpoint, read_checkpoint
from vkd.models.factory import create_model
from vkd.network_names import is_code, is_run


def from_pretrained(
    source: str | Path,
    *,
    student: nn.Module | None = None,
    revision: str = "",
    token: str | None = None,
) -> nn.Module:
    """Return a published network with its weights, in eval mode.

    Args:
        source: folder that ``save_pretrained`` wrote, run folder, or repository ``OWNER/NAME`` of
            the hub of Hugging Face, of ours or timm's. A folder comes first.
        student: your own network, where no name builds that of the weights.
        revision: branch, tag or commit of a repository.
        token: of the hub; that of ``hf auth login`` or ``HF_TOKEN`` by default.

    Only safetensors are read, and no code is run that comes with them.

    Raises:
        UserError: if there is no model, or it does not fit what its configuration says.
        RunError: if the hub cannot be reached.
    """
    folder = Path(source)
    if not folder.is_dir():
        if not is_repository(str(source)):
            raise UserError(
                f"There is no folder {shortened(source, 150)}; a repository of the hub is "
                "OWNER/NAME."
            )
        folder = fetch(str(source), revision, token)
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{shortened(source, 150)} has no {WEIGHTS}; weights in other formats are not read."
        )
    if not (folder / CONFIG).is_file():
        return model_of_checkpoint(folder, "", student).network
    read = read_checkpoint(folder / WEIGHTS)
    network = load_checkpoint(student, read) if student is not None else _built(folder, read)
    return network.eval()


def _built(folder: Path, read: Checkpoint) -> nn.Module:
    """The network that a folder's configuration names."""
    config = read_json(folder / CONFIG)
    name = config.get("architecture", "")
    where = shortened(folder, 120)
    if not isinstance(name, str):
        raise UserError(f"{where}: architecture in {CONFIG} must be a name, found {name!r:.80}.")
    if not name:
        raise UserError(
            f"{where} does not say which network its weights are of; give it as student=..."
        )
    if is_code(name) or is_run(name):
        raise UserError(
            f"{where} is of a network that no library has ({name[:80]}); build it yourself and "
            "give it as student=..."
        )
    is_of_timm = "pretrained_cfg" in config or "vkd" not in config
    if is_of_timm and timm.is_model(name):
        return load_checkpoint(_by_timm(folder, name), read)
    return create_model(name, read)


def _by_timm(folder: Path, name: str) -> nn.Module:
    try:
        return timm.create_model(f"local-dir:{folder}")
    # What timm makes of odd configurations is of no fixed kind.
    except Exception as error:
        raise UserError(
            f"{shortened(folder / CONFIG, 120)}: {name[:60]} cannot be built: {reason_of(error)}."
        ) from None
