"""Repositories of the hub of Hugging Face: what is fetched, and what is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub import HfApi, constants, get_token, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vkd.errors import FieldError, RunError, UserError, reason_of
from vkd.hub.names import FILES

# The client's own error derives from those of the HTTP library below it, of which there are
# different ones in different versions.
_FAILURES = tuple(
    kind for kind in HfHubHTTPError.__mro__ if issubclass(kind, Exception) and kind is not Exception
)


def fetch(repository: str, revision: str, token: str | None) -> Path:
    """Return the folder into which a repository's files of a published model were fetched.

    What was fetched before is taken from the cache where the hub cannot be reached.

    Raises:
        UserError: if there is no such repository or revision, or it is not open to the token.
        RunError: if the hub cannot be reached.
    """
    with _in_sentences(repository):
        found = snapshot_download(
            repository, revision=revision or None, token=token, allow_patterns=list(FILES)
        )
    return Path(found)


def require_token(given: str | None) -> str:
    """Return a token of the hub, or that of ``hf auth login`` or ``HF_TOKEN``.

    Raises:
        UserError: if there is none.
    """
    token = given or get_token()
    if token is None:
        raise UserError("There is no token for the hub: run `hf auth login`, or set HF_TOKEN.")
    return token


def send(
    folder: Path, repository: str, *, private: bool, overwrite: bool, token: str | None
) -> str:
    """Send the files of a published model to a repository, which is made if there is none.

    Returns:
        The address of the repository.

    Raises:
        UserError: if the hub refuses the token, or the repository has a model and ``overwrite`` is
            False.
        RunError: if the hub cannot be reached.
    """
    api = HfApi(token=token)
    with _in_sentences(repository):
        made = api.create_repo(repository, private=private or None, exist_ok=True)
        present = sorted({*api.list_repo_files(repository)} & {*FILES})
        if present and not overwrite:
            raise FieldError(
                "repo_id",
                f"{repository} has {', '.join(present)} already; name a new repository, or give "
                "overwrite (--overwrite).",
            )
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message="Publish a model",
        )
    return str(made)


@contextmanager
def _in_sentences(repository: str) -> Iterator[None]:
    """Turn what the hub's client raises into a sentence."""
    endpoint = constants.ENDPOINT
    try:
        yield
    except UserError:
        raise
    except OfflineModeIsEnabled:
        raise _turned_off(repository) from None
    except RevisionNotFoundError:
        raise FieldError("revision", f": {repository} has none of that name.") from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{endpoint} has no {repository}, or none that is open to the token in use."
        ) from None
    except LocalEntryNotFoundError as error:
        cause = error.__cause__
        if not isinstance(cause, Exception) or isinstance(cause, OfflineModeIsEnabled):
            raise _turned_off(repository) from None
        raise RunError(
            f"{repository} is no folder here, and {endpoint} could not be reached: "
            f"{reason_of(cause)}."
        ) from None
    except HfHubHTTPError as error:
        raise _refusal(error, repository, endpoint) from None
    except huggingface_hub.errors.HFValidationError as error:
        raise FieldError("repo_id", f": {reason_of(error)}.") from None
    except _FAILURES as error:
        raise RunError(f"{endpoint} could not be reached: {reason_of(error)}.") from None


def _turned_off(repository: str) -> RunError:
    return RunError(
        f"{repository} is to be found on the hub, which is turned off here (HF_HUB_OFFLINE)."
    )


def _refusal(error: HfHubHTTPError, repository: str, endpoint: str) -> UserError | RunError:
    status = error.response.status_code
    words = f"{status}: {error.server_message or reason_of(error)}"[:150].rstrip(".")
    if status in (401, 403):
        return UserError(f"{endpoint} refused the token for {repository} ({words}).")
    return RunError(f"{endpoint} refused {repository} ({words}).")
