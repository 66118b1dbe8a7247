"""``vkd predict`` on the files that people have."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from vkd.api.predict import each_prediction, predict
from vkd.data import prediction


@pytest.fixture
def pictures(tmp_path):
    """A folder with nine digits in two folders, and what is no picture beside them."""
    folder = tmp_path / "pictures"
    digits = load_digits().images
    for index in range(9):
        place = folder / ("first" if index < 5 else "second")
        place.mkdir(parents=True, exist_ok=True)
        pixels = (digits[index] / 16 * 255).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{index % 5}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "first" / "._0.png").write_bytes(b"AppleDouble")
    return folder


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_folders_and_patterns_are_all_their_pictures(digits_run, pictures, vkd):
    whole = lines(vkd("predict", "--checkpoint", digits_run, pictures))
    assert len(whole) == 9
    matched = lines(vkd("predict", "--checkpoint", digits_run, f"{pictures}/*/[0-2].png"))
    assert [record for record in whole if record["image"][-5] in "012"] == matched
    single = [lines(vkd("predict", "--checkpoint", digits_run, r["image"]))[0] for r in whole]
    assert [r["class"] for r in single] == [r["class"] for r in whole]
    assert vkd("predict", "--checkpoint", digits_run, f"{pictures}/*.jpg").returncode == 2
    (pictures / "empty").mkdir()
    assert vkd("predict", "--checkpoint", digits_run, pictures / "empty").returncode == 2


def test_good_files_are_answered_and_bad_ones_named(digits_run, pictures, vkd):
    (pictures / "first" / "1.png").write_bytes(b"")
    (pictures / "second" / "0.png").unlink()
    (pictures / "second" / "0.png").symlink_to("nowhere")
    done = vkd("predict", "--checkpoint", digits_run, pictures, pictures / "absent.png")
    assert done.returncode == 1
    assert len(lines(done)) == 7
    errors = done.stderr.splitlines()
    for name in ("1.png", "0.png", "absent.png"):
        assert any(name in line for line in errors)
    assert errors[-1] == "vkd: 3 of 10 images could not be read."
    only = vkd("predict", "--checkpoint", digits_run, pictures / "absent.png")
    assert only.returncode == 2
    assert only.stderr.splitlines() == [f"vkd: There is no image {pictures / 'absent.png'}."]


def test_answers_come_in_batches_as_they_are_found(digits_run, pictures, monkeypatch):
    opened = []
    original = prediction.open_picture

    def counted(file, mode):
        opened.append(file)
        return original(file, mode)

    monkeypatch.setattr(prediction, "open_picture", counted)
    records = each_prediction(str(digits_run), [pictures], batch_size=4)
    assert next(records)["image"].endswith("first/0.png")
    assert len(opened) == 4
    assert len(list(records)) == 8


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_records_are_written_whole_and_a_second_try_is_welcome(digits_run, pictures, vkd, suffix):
    output = pictures.parent / f"found{suffix}"
    bad = pictures / "first" / "2.png"
    kept = bad.read_bytes()
    bad.write_bytes(kept[:40])
    arguments = ("predict", "--checkpoint", digits_run, "--output", output, pictures)
    assert vkd(*arguments).returncode == 1
    assert "2.png" in output.read_text()
    bad.write_bytes(kept)
    done = vkd(*arguments)
    assert done.returncode == 0
    with output.open(newline="") as opened:
        rows = list(csv.DictReader(opened)) if suffix == ".csv" else list(map(json.loads, opened))
    assert [row["class"] for row in rows] == [record["class"] for record in lines(done)]
    again = vkd(*arguments)
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_an_image_that_is_named_twice_is_answered_twice(digits_run, pictures):
    first, second = pictures / "first" / "0.png", pictures / "second" / "1.png"
    given = [first, second, first, pictures / "absent.png", first]
    records = predict(str(digits_run), given)
    assert [record["image"] for record in records] == [str(file) for file in given]
    assert records[0] == records[2] == records[4]


def test_folders_that_are_links_count_and_what_is_left_out_is_said(digits_run, pictures, vkd):
    linked = pictures.parent / "linked"
    linked.mkdir()
    (linked / "all").symlink_to(pictures)
    done = vkd("predict", "--checkpoint", digits_run, linked)
    assert len(lines(done)) == 9
    assert ".txt (1)" in done.stderr


def test_a_table_is_no_picture_that_a_generator_makes(gan_run, tmp_path, vkd):
    done = vkd("predict", "--checkpoint", gan_run, "--output", tmp_path / "a.csv")
    assert done.returncode == 2
    assert "--output must be a new PNG file or folder" in done.stderr


@pytest.mark.parametrize(
    ("flag", "value"),
    [("count", 0), ("count", -1), ("count", 10**11), ("count", 10**21),
     ("seed", -1), ("seed", 2**64), ("seed", 10**30)],
)  # fmt: skip
def test_a_number_of_images_or_a_seed_out_of_range_is_refused(gan_run, tmp_path, vkd, flag, value):
    output = tmp_path / "made"
    done = vkd("predict", "--checkpoint", gan_run, f"--{flag}={value}", "--output", output)
    assert done.returncode == 2
    assert done.stderr.startswith(f"vkd: --{flag} must be from ")
    assert done.stderr.count("\n") == 1
    assert not output.exists()
