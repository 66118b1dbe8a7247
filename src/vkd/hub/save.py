"""``vkd.save_pretrained`` and ``vkd.push_to_hub``."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load_file
from torch import nn

from vkd.errors import FieldError
from vkd.files import whole_folder, write_whole
from vkd.hub.card import card_of
from vkd.hub.config import write_network
from vkd.hub.model import Model, model_of_checkpoint, model_of_network
from vkd.hub.names import (
    CARD,
    CONFIG,
    FILES,
    PROJECTION,
    WEIGHTS,
    check_licence,
    check_repository,
)
from vkd.hub.repository import require_token, send
from vkd.notes import say
from vkd.partials import new_partial
from vkd.places import check_folder, check_text
from vkd.reporting.described import Statement
from vkd.reporting.model_card import is_edited
from vkd.tensor_files import save_tensors


def save_pretrained(
    source: str | Path | nn.Module,
    folder: str | Path,
    *,
    recipe: str = "",
    student: str | nn.Module | None = None,
    architecture: str = "",
    title: str = "",
    license: str = "",
    teacher_license: str = "",
    data_license: str = "",
    datasets: Sequence[str] = (),
    base_model: str = "",
    projection: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a model as the hub of Hugging Face has models, and return the folder.

    It holds ``model.safetensors``, ``config.json`` and the card ``README.md``. The network is
    built from them by ``vkd.from_pretrained``, and by timm where the card says so, which was tried.
    State to resume from, teacher and paths of this machine stay behind.

    Args:
        source: run folder, weights file or network.
        folder: new.
        recipe: name or file, where a weights file does not name its own.
        student: your own network, where the run was trained with one; or the name of one that a
            file of Python builds, which runs only where you name it.
        architecture: the name that builds a network which does not tell it.
        title: of the card; the architecture's name by default.
        license: of the model, as the hub writes it, for example apache-2.0. Of what is not given
            the card says that it is unknown.
        teacher_license: of the teacher's weights.
        data_license: of the training data.
        datasets: names of the training data on the hub.
        base_model: name on the hub of the weights that the student started from.
        projection: whether the projection that a run trained is written, too, as
            ``projection.safetensors``.
        overwrite: whether files that are in the folder are replaced.

    Raises:
        UserError: if the folder is taken, or ``source`` holds no model or does not say which.
        RunError: if the files cannot be written; then there are none.
    """
    statement = Statement(
        license=license, teacher_license=teacher_license, data_license=data_license,
        datasets=tuple(datasets), base_model=base_model,
    )  # fmt: skip
    for field in ("license", "teacher_license", "data_license"):
        check_licence(field, vars(statement)[field])
    for field, text in (
        ("title", title),
        ("base_model", base_model),
        ("datasets", "".join(datasets)),
    ):
        check_text(field, text)
    target = Path(folder)
    name = target.resolve().name
    _check_target(target, overwrite)
    if isinstance(source, nn.Module):
        model = model_of_network(source, architecture)
    else:
        model = model_of_checkpoint(source, recipe, student)
    with _written(target) as place:
        reason = write_network(model, place, license)
        if projection:
            _copy_projection(model, place)
        card = card_of(model, title or model.architecture, name, not reason, statement)
        write_whole(place / CARD, str(card))
    say(name, _notes(model, reason, statement))
    return target


def push_to_hub(
    source: str | Path | nn.Module,
    repo_id: str,
    *,
    private: bool = False,
    overwrite: bool = False,
    token: str | None = None,
    **options: Any,
) -> str:
    """Send a model to a repository of the hub of Hugging Face, and return its address.

    Args:
        source: as ``save_pretrained`` takes it; or a folder that it wrote, whose files are sent as
            they are, with what you have changed in its card.
        repo_id: ``OWNER/NAME``; made if there is none.
        private: whether a new repository is closed to others.
        overwrite: whether a model that is in the repository is replaced.
        token: of the hub; that of ``hf auth login`` or ``HF_TOKEN`` by default.
        **options: of ``save_pretrained``, beside ``folder``.

    Raises:
        UserError: as ``save_pretrained``; or if there is no token, the hub refuses it, or the
            repository has a model.
        RunError: if the hub cannot be reached.
    """
    check_repository(repo_id)
    sent = partial(
        send, repository=repo_id, private=private, overwrite=overwrite, token=require_token(token)
    )
    if not isinstance(source, nn.Module) and is_published(Path(source)):
        for name in options:
            raise FieldError(
                name, f"has no effect, as {source} is written already; change its {CARD}, or name "
                "the run."
            )  # fmt: skip
        return sent(Path(source))
    with TemporaryDirectory() as place:
        folder = save_pretrained(source, Path(place) / repo_id.split("/")[1], **options)
        return sent(folder)


def is_published(folder: Path) -> bool:
    """Return whether a folder holds what ``save_pretrained`` writes."""
    return all((folder / name).is_file() for name in (WEIGHTS, CONFIG, CARD))


def _check_target(folder: Path, overwrite: bool) -> None:
    check_folder(folder, "output")
    if (folder / "recipe.yaml").is_file():
        raise FieldError("output", f"{folder} is a run folder; name a new folder.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise FieldError(
            "output",
            f"{folder} is not empty; name a new folder, or give overwrite (--overwrite).",
        )


@contextmanager
def _written(folder: Path) -> Iterator[Path]:
    """A folder to write to, whose files move to ``folder`` when all are written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir() or not any(folder.iterdir()):
        with whole_folder(folder, shared=False) as place:
            yield place
        return
    # What else is there, such as a clone's history, stays where it is.
    place = new_partial(folder / WEIGHTS)
    try:
        yield place
        for part in FILES:
            if (place / part).is_file():
                os.replace(place / part, folder / part)
            else:  # of another model that was here before
                (folder / part).unlink(missing_ok=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _copy_projection(model: Model, folder: Path) -> None:
    file = model.run / PROJECTION if model.run else None
    if file is None or not file.is_file():
        raise FieldError("projection", f": there is no {PROJECTION} beside the weights.")
    save_tensors(load_file(file), folder / PROJECTION, dict(model.metadata))


def _notes(model: Model, reason: str, statement: Statement) -> list[str]:
    """What was cut, is not known, or does not work."""
    notes = []
    if model.cut:
        notes.append(f"paths of the recipe are cut to their last names ({', '.join(model.cut)})")
    licences = ("license", "teacher_license", "data_license")
    if absent := [name for name in licences if not vars(statement)[name]]:
        notes.append(f"the card says that these are unknown: {', '.join(absent)}")
    if not model.metrics:
        notes.append("no metrics of the weights are known")
    if model.run is not None and is_edited(model.run / CARD):
        notes.append(f"the {CARD} of the run was edited by hand and is not taken over")
    if reason:
        notes.append(f"vkd.from_pretrained loads it, and timm does not: {reason}")
    return notes
