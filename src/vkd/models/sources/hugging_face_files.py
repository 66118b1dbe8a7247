"""Files of networks of Hugging Face: of a folder, or of the hub. None of them is ever run."""

import json
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from vkd.errors import RunError, UserError, reason_of, shortened
from vkd.files import read_json
from vkd.inside import inside

_ON_HUB = re.compile(r"[\w.-]+/[\w.-]+")
# Entries that have code or kernels fetched, or the weights read in another way.
_UNSAFE = {
    "auto_map", "attn_implementation", "_attn_implementation", "_attn_implementation_internal",
    "experts_implementation", "_experts_implementation", "_experts_implementation_internal",
    "quantization_config",
}  # fmt: skip


def file_problem(own: str) -> str:
    """Return what is wrong with OWNER/NAME or FOLDER, as the rest of a sentence."""
    if os.path.isdir(own):
        is_saved = (Path(own) / "config.json").is_file()
        return "" if is_saved else f"{own} holds no config.json, as save_pretrained writes it"
    if _ON_HUB.fullmatch(own) and not own.startswith("."):
        return ""
    return f"there is no folder {shortened(own, 120)!r}, and names on the hub are OWNER/NAME"


def found_file(own: str, name: str) -> Path | None:
    """Return a file of a network, fetched from the hub where it is there; None if it has none.

    Raises:
        UserError: if the hub has no such network, or not for this user.
        RunError: if the hub cannot be reached.
    """
    if os.path.isdir(own):
        file = Path(own) / name
        return file if file.is_file() else None
    try:
        return Path(hf_hub_download(own, name))
    except GatedRepoError:
        raise UserError(
            f"hf/{own} is given to users who accepted its terms: do so on its page, and log in "
            "with `hf auth login`."
        ) from None
    except RepositoryNotFoundError:
        raise UserError(
            f"The hub of Hugging Face has no network {own!r}, or a private one that needs "
            "`hf auth login`."
        ) from None
    except LocalEntryNotFoundError:
        raise RunError(
            f"The hub of Hugging Face cannot be reached for hf/{own}, and no copy of it lies here."
        ) from None
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise RunError(f"{name} of hf/{own} could not be fetched: {reason_of(error)}.") from None


def config_values(own: str) -> dict[str, Any]:
    """Return what a network's config.json says.

    Raises:
        UserError: if there is none, or it is no config of transformers.
        RunError: if the hub cannot be reached.
    """
    file = found_file(own, "config.json")
    if file is None:
        raise UserError(f"hf/{own} has no config.json, so it is no network of transformers.")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"hf/{own}: its config.json is no JSON object.")
    if not isinstance(found.get("model_type"), str):
        raise UserError(
            f"hf/{own}: its config.json names no model_type, so it is no network of transformers; "
            "one of timm's is timm/NAME."
        )
    return found


def safe_values(values: Any) -> Any:
    """Return a config's values without entries that have code fetched, at any depth."""
    if isinstance(values, dict):
        return {k: safe_values(value) for k, value in values.items() if k not in _UNSAFE}
    return [safe_values(value) for value in values] if isinstance(values, list) else values


def check_weights(own: str) -> None:
    """Refuse a folder whose weights are elsewhere: as its index of parts says, or as an adapter.

    Of the hub the client itself refuses names that lead out of a repository.

    Raises:
        UserError: if the index is damaged or names what is outside of the folder, or the weights
            are an adapter to those of another network.
    """
    folder = Path(own)
    if find_spec("peft") is not None and found_file(own, "adapter_config.json") is not None:
        raise UserError(
            f"hf/{shortened(own, 120)} is an adapter to another network; merge it into that and "
            "name the folder of the result."
        )
    file = folder / "model.safetensors.index.json"
    if not folder.is_dir() or not file.is_file():
        return
    parts = read_json(file).get("weight_map")
    names = list(parts.values()) if isinstance(parts, dict) else [parts]
    for name in names:
        if not isinstance(name, str) or inside(folder, name, through_links=False) is None:
            raise UserError(
                f"{shortened(file, 120)}: weight_map names {str(name)[:60]}, which is no file in "
                "its folder."
            )
