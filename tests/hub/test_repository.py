"""Repositories: by a client that stands for the hub's, and by the hub's own that reaches nobody."""

import json
import shutil
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from safetensors.torch import load_file

import vkd
from support.commands import run_python
from vkd.errors import RunError, UserError
from vkd.hub import repository


class Hub:
    """Keeps repositories as folders, with the calls of ``HfApi`` that are used."""

    def __init__(self, folder):
        self.folder, self.made = folder, {}

    def __call__(self, token):
        self.token = token
        return self

    def create_repo(self, repo_id, private=None, exist_ok=False):
        assert exist_ok
        self.made.setdefault(repo_id, private)
        (self.folder / repo_id).mkdir(parents=True, exist_ok=True)
        return f"https://hub.test/{repo_id}"

    def list_repo_files(self, repo_id):
        return [file.name for file in (self.folder / repo_id).iterdir()]

    def upload_folder(self, repo_id, folder_path, allow_patterns, commit_message):
        for name in allow_patterns:
            if (folder_path / name).is_file():
                shutil.copy(folder_path / name, self.folder / repo_id / name)

    def snapshot_download(self, repo_id, revision=None, token=None, allow_patterns=()):
        return str(self.folder / repo_id)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(repository, "HfApi", made)
    monkeypatch.setattr(repository, "snapshot_download", made.snapshot_download)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    return made


def test_a_run_is_sent_and_loaded_again(hub, digits_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = vkd.push_to_hub(digits_run, "me/digits", private=True, license="mit")
    assert address == "https://hub.test/me/digits"
    assert (hub.token, hub.made) == ("hf_of_the_test", {"me/digits": True})
    sent = hub.folder / "me" / "digits"
    assert {file.name for file in sent.iterdir()} == {
        "README.md", "config.json", "model.safetensors"
    }  # fmt: skip
    assert 'vkd.from_pretrained("digits")' in (sent / "README.md").read_text()
    loaded = vkd.from_pretrained("me/digits").state_dict()
    for name, value in load_file(digits_run / "model.safetensors").items():
        assert loaded[name].equal(value)


def test_a_published_folder_is_sent_as_it_is(hub, digits_run, tmp_path, vkd):
    folder = tmp_path / "published"
    both = vkd("publish", "--checkpoint", digits_run, "--output", folder, "--repo-id", "me/both")
    assert both.stdout.splitlines() == [str(folder), "https://hub.test/me/both"]
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nMore, by hand.\n")
    (folder / "secret.txt").write_text("mine")
    assert vkd("publish", "--checkpoint", folder, "--repo-id", "me/later").returncode == 0
    sent = hub.folder / "me" / "later"
    assert "More, by hand." in ModelCard.load(sent / "README.md").text
    assert not (sent / "secret.txt").exists()
    refused = vkd("publish", "--checkpoint", folder, "--repo-id", "me/later", "--title", "x")
    assert "--title has no effect" in refused.stderr


def test_a_model_of_the_hub_is_not_replaced_unasked(hub, digits_run):
    vkd.push_to_hub(digits_run, "me/digits")
    config = hub.folder / "me" / "digits" / "config.json"
    config.write_text("{}")
    with pytest.raises(UserError, match=r"has README.md, config.json, model.safetensors already"):
        vkd.push_to_hub(digits_run, "me/digits")
    assert config.read_text() == "{}"
    vkd.push_to_hub(digits_run, "me/digits", overwrite=True)
    assert json.loads(config.read_text())["architecture"] == "conv_vit_digits"


def test_without_a_token_nothing_is_written_or_sent(hub, monkeypatch):
    monkeypatch.setattr(repository, "get_token", lambda: None)
    with pytest.raises(UserError, match="run `hf auth login`, or set HF_TOKEN"):
        vkd.push_to_hub("no/such/run", "me/digits")
    assert not hub.made


@pytest.mark.parametrize(
    ("kind", "status", "expected", "words"),
    [
        (HfHubHTTPError, 401, UserError, "refused the token for me/digits"),
        (HfHubHTTPError, 403, UserError, "refused the token for me/digits"),
        (HfHubHTTPError, 500, RunError, "refused me/digits"),
        (RepositoryNotFoundError, 404, UserError, "has no me/digits"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    hub, digits_run, monkeypatch, kind, status, expected, words
):
    def refuse(*arguments, **options):
        response = SimpleNamespace(status_code=status, headers={}, request=None)
        raise kind("first line\nand more", response=response, server_message="because")

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(expected, match=words) as found:
        vkd.push_to_hub(digits_run, "me/digits")
    assert "\n" not in str(found.value)


UNREACHABLE = """
import vkd
from vkd.cli import main

try:
    vkd.from_pretrained("me/digits")
except vkd.errors.RunError as error:
    print(error)
assert main(["publish", "--checkpoint", {folder!r}, "--repo-id", "me/digits"]) == 1
"""


def test_a_hub_that_cannot_be_reached_is_one_sentence(digits_run, tmp_path):
    folder = vkd.save_pretrained(digits_run, tmp_path / "published")
    done = run_python(
        "-c", UNREACHABLE.format(folder=str(folder)), HF_ENDPOINT="http://127.0.0.1:9",
        HF_TOKEN="hf_of_the_test", HF_HOME=str(tmp_path / "home"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (fetched,), (sent,) = done.stdout.splitlines(), done.stderr.splitlines()
    refused = "could not be reached: [Errno 111] Connection refused."
    assert fetched == f"me/digits is no folder here, and http://127.0.0.1:9 {refused}"
    assert sent == f"vkd: http://127.0.0.1:9 {refused}"


def test_a_hub_that_is_turned_off_is_one_sentence(hub, digits_run, monkeypatch):
    def refuse(*arguments, **options):
        raise OfflineModeIsEnabled("a long text")

    def missing(*arguments, **options):
        raise LocalEntryNotFoundError("a long text") from OfflineModeIsEnabled("another")

    monkeypatch.setattr(hub, "create_repo", refuse)
    monkeypatch.setattr(repository, "snapshot_download", missing)
    words = r"me/digits is to be found on the hub, which is turned off here \(HF_HUB_OFFLINE\)\."
    with pytest.raises(RunError, match=words):
        vkd.push_to_hub(digits_run, "me/digits")
    with pytest.raises(RunError, match=words):
        vkd.from_pretrained("me/digits")
