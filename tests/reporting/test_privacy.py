"""Recipes without the paths of a machine."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vkd.reporting.privacy import without_paths


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/alice/pictures", "pictures"),
        ("/home/alice/pictures/", "pictures"),
        ("~/pictures", "pictures"),
        ("../alice/run", "run"),
        ("runs/teacher", "teacher"),
        (r"C:\Users\alice\run", "run"),
        ("https://alice:secret@place.test/data.tar", "data.tar"),  # pragma: allowlist secret
        ("/data/{000..010}.tar", "{000..010}.tar"),
        ("/home/alice/net.py:make", "net.py:make"),
        ("hf//home/alice/model", "hf/model"),
        ("hf/home/alice/model", "hf/model"),
        ("/", "."),
        ("hub", "hub"),
        ("resnet18.a1_in1k", "resnet18.a1_in1k"),
        ("timm/resnet18", "timm/resnet18"),
        ("torchvision/resnet18", "torchvision/resnet18"),
        ("hf/facebook/dinov2-small", "hf/facebook/dinov2-small"),
        ("timm/resnet18,/home/alice/net.py:make", "timm/resnet18,net.py:make"),
        (3, 3),
        (["/home/alice/a", "b"], ["a", "b"]),
        ({"file": "/home/alice/a"}, {"file": "a"}),
    ],
)
def test_paths_are_cut_to_their_last_names(value, shown):
    recipe, cut = without_paths({"field": value})
    assert recipe == {"field": shown}
    assert cut == (["field"] if value != shown else [])


def test_data_sets_of_the_hub_keep_their_names(tmp_path, monkeypatch):
    recipe = {"dataset": "hfds", "data_path": "owner/data", "teacher_checkpoint": "runs/teacher"}
    expected = recipe | {"teacher_checkpoint": "teacher"}
    assert without_paths(recipe)[0] == expected
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "data").mkdir(parents=True)
    assert without_paths(recipe)[0] == expected | {"data_path": "data"}
    assert without_paths(recipe | {"dataset": "folder"})[0]["data_path"] == "data"


@given(st.text(st.sampled_from("ab/\\.~, :"), max_size=30))
def test_nothing_is_left_of_where_a_path_leads(text):
    (shown,) = without_paths({"field": text})[0].values()
    assert not re.search(r"[/\\]", shown)
    assert without_paths({"field": shown})[0]["field"] == shown
