"""Downloads: by digest where the publisher gives one, and tensors alone."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torch_fidelity import feature_extractor_inceptionv3 as inceptionv3
from torchvision.models import get_model_weights, list_models

from support.hostile import Payload
from vkd.errors import RunError
from vkd.generation.extractors import Inception


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a folder on this machine; returns the folder and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def _named_by_digest(folder, content):
    """Save what torch saves under a name that ends in the digest of the file."""
    torch.save(content, folder / "part")
    digest = hashlib.sha256((folder / "part").read_bytes()).hexdigest()[:8]
    return (folder / "part").rename(folder / f"weights-{digest}.pth").name


def test_weights_of_inception_must_have_their_digest(server, monkeypatch):
    folder, address = server
    torch.save({"a": torch.zeros(1)}, folder / "weights-6726825d.pth")
    monkeypatch.setattr(inceptionv3, "URL_INCEPTION_V3", f"{address}/weights-6726825d.pth")
    with pytest.raises(RunError, match="invalid hash value"):
        Inception()


def test_weights_of_inception_run_no_code(server, monkeypatch, tmp_path):
    folder, address = server
    name = _named_by_digest(folder, {"a": Payload(tmp_path / "canary")})
    monkeypatch.setattr(inceptionv3, "URL_INCEPTION_V3", f"{address}/{name}")
    with pytest.raises(RunError, match="could not be fetched whole"):
        Inception()
    assert not (tmp_path / "canary").exists()
    # The library by itself, in whose place ours stands.
    inceptionv3.load_state_dict_from_url(f"{address}/{name}")
    assert (tmp_path / "canary").exists()


def test_timms_addresses_are_checked(server, monkeypatch):
    import timm

    from vkd.models.sources import timm as source

    folder, address = server
    torch.save({"a": torch.zeros(1)}, folder / "net-00000000.pth")
    build = timm.create_model
    overlay = {"url": f"{address}/net-00000000.pth", "hf_hub_id": None}
    monkeypatch.setattr(source.timm, "create_model", partial(build, pretrained_cfg_overlay=overlay))
    with pytest.raises(RunError, match="invalid hash value"):
        source._published("resnet18", {})


def test_torchvision_names_the_digest_of_each_file():
    from torchvision import models

    for name in list_models(module=models):
        url = get_model_weights(name).DEFAULT.url
        assert url.startswith("https://")
        assert torch.hub.HASH_REGEX.search(url.rsplit("/", 1)[-1]), url
