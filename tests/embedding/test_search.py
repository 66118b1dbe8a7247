"""``vkd search`` beside cosines that are computed by hand from the run's own files."""

import json
import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch.nn import functional as F

import vkd
from vkd.errors import UserError
from vkd.models.checkpoints import read_checkpoint
from vkd.recipe import recipe


@pytest.fixture(scope="module")
def run(shared, digits_teacher):
    """A student that learnt the digits teacher's features for two epochs."""

    def make(folder):
        fields = {"epochs": 2, "warmup_epochs": 0, "evaluate_every": 2, "device": "cpu"}
        config = recipe(
            "digits-embedding", teacher_checkpoint=str(digits_teacher), trackers="", **fields
        )
        vkd.train(config, folder, show=False)

    return shared("embedding-search-run", make)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Thirty digits to search, three to search with; by name."""
    folder = tmp_path_factory.mktemp("digits")
    for number, image in enumerate(load_digits().images[:33]):
        place = folder / ("index" if number < 30 else "queries")
        place.mkdir(exist_ok=True)
        Image.fromarray((image / 16 * 255).astype(np.uint8)).save(place / f"{number:02}.png")
    return folder


def images(folder, run):
    """The pictures of a folder, normalised as the student's file says."""
    inputs = read_checkpoint(run).inputs
    files = sorted(folder.iterdir())
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(f)) / 255) for f in files])
    return (pixels[:, None].float() - inputs["mean"][0]) / inputs["std"][0], list(map(str, files))


@torch.no_grad()
def features(name, checkpoint, pixels):
    return vkd.create_model(name, checkpoint=str(checkpoint), num_classes=0).eval()(pixels)


def by_hand(index, queries, names, asked, count):
    cosines = F.normalize(queries, dim=1) @ F.normalize(index, dim=1).T
    return [
        (query, names[place], float(row[place]))
        for query, row in zip(asked, cosines, strict=True)
        for place in row.argsort(descending=True)[:count]
    ]


def found(records):
    return [(r["query"], r["image"], pytest.approx(r["similarity"], abs=2e-4)) for r in records]


def test_the_students_index_is_searched_by_cosines(run, digits):
    (rows, names), (asked, queries) = (images(digits / p, run) for p in ("index", "queries"))
    ours = [features("conv_vit_digits", run, pixels) for pixels in (rows, asked)]
    records = vkd.search(run, [digits / "queries"], digits / "index", count=4)
    assert by_hand(*ours, names, queries, 4) == found(records)
    assert [record["rank"] for record in records] == [1, 2, 3, 4] * 3


@pytest.mark.parametrize("fold", [False, True])
def test_a_teachers_index_is_searched_through_the_projection(run, digits, digits_teacher, fold):
    (rows, names), (asked, queries) = (images(digits / p, run) for p in ("index", "queries"))
    theirs = features("cnn_digits", digits_teacher, rows)
    theirs = (theirs - theirs.mean(1, keepdim=True)) / theirs.std(1, keepdim=True, correction=0)
    ours = features("conv_vit_digits", run, asked)
    matrix = load_file(run / "projection.safetensors")["weight"]
    sides = (theirs @ matrix, ours) if fold else (theirs, ours @ matrix.T)
    records = vkd.search(
        run, [digits / "queries"], digits / "index", index_by="teacher", fold=fold, count=5
    )
    assert by_hand(*sides, names, queries, 5) == found(records)


@pytest.mark.parametrize("option", ["both_sides", "standardize_student"])
def test_a_student_that_more_than_a_map_leads_to_its_teacher_searches_no_index_of_it(
    digits, digits_teacher, tmp_path, option
):
    vkd.train(
        "digits-embedding", tmp_path / "run", show=False, device="cpu", trackers="", epochs=1,
        warmup_epochs=0, evaluate_every=1, teacher_checkpoint=str(digits_teacher),
        method_options={option: True},
    )  # fmt: skip
    metrics = vkd.evaluate(str(tmp_path / "run"), device="cpu")
    assert metrics["recall_1"] > 0
    assert not any("mixed" in name or "folded" in name for name in metrics)
    with pytest.raises(UserError, match="does not lead to the teacher's normalised embedding"):
        vkd.search(tmp_path / "run", [digits / "queries"], digits / "index", index_by="teacher")


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_an_index_is_saved_and_searched_later(run, digits, tmp_path, suffix):
    queries, index = [digits / "queries"], digits / "index"
    for name, options, later in [
        ("student", {}, {}),
        ("teacher", {"index_by": "teacher"}, {"index_by": "teacher"}),
        ("folded", {"index_by": "teacher", "fold": True}, {}),
    ]:
        file = tmp_path / f"{name}{suffix}"
        first = vkd.search(run, queries, index, save_index=str(file), **options)
        again = vkd.search(run, queries, file, **later)
        assert [r["image"] for r in first] == [r["image"] for r in again]
        assert [r["similarity"] for r in again] == pytest.approx(
            [r["similarity"] for r in first], abs=2e-4
        )
    with pytest.raises(UserError, match=r"save_index.* exists already"):
        vkd.search(run, queries, index, save_index=str(file))


def test_what_predict_writes_is_an_index(run, digits, tmp_path):
    file = tmp_path / "embeddings.npy"
    vkd.predict(str(run), [digits / "index"], output=str(file))
    queries = [digits / "queries"]
    assert vkd.search(run, queries, file) == vkd.search(run, queries, digits / "index")


def test_a_picture_is_not_its_own_neighbour(run, digits, caplog):
    index = digits / "index"
    with caplog.at_level(logging.WARNING, "vkd"):
        records = vkd.search(run, [index / "03.png"], index, count=100)
    assert len(records) == 29
    assert str(index / "03.png") not in {record["image"] for record in records}
    assert "has 30 pictures, of which all are found" in caplog.text


def test_the_statistics_of_an_index_take_the_place_of_a_batchs(run, digits, caplog):
    text = (run / "recipe.yaml").read_text().replace("layer_norm", "standardize")
    changed = digits / "standardized.yaml"
    changed.write_text(text)
    with caplog.at_level(logging.WARNING, "vkd"):
        vkd.search(run, [digits / "queries"], digits / "index", str(changed), index_by="teacher")
    assert "standardize takes the statistics of its 30 pictures" in caplog.text


def test_the_command_prints_lines_and_draws(run, digits, tmp_path, vkd):
    (digits / "queries" / "99.png").write_text("no picture")
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    arguments = ("search", "--checkpoint", run, "--index", digits / "index", digits / "queries")
    done = vkd(*arguments, "--count", 3, "--output", page)
    (digits / "queries" / "99.png").unlink()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "vkd: 1 of 4 queries could not be read."
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == 9
    text = page.read_text()
    assert text.count("data:image/png;base64,") == text.count("<img") == 12
    assert "http" not in text.replace("http-equiv", "")
    for record in records:
        words = f"{record['rank']}: {record['similarity']:.3f}, {record['image']}"
        assert f'alt="{words}"' in text
    done = vkd(*arguments, "--index-by", "teacher", "--fold", "--output", sheet)
    assert done.returncode == 0, done.stderr
    assert Image.open(sheet).size == (6 * 172 + 12, 3 * 192 + 12)
    assert "exists already" in vkd(*arguments, "--output", sheet).stderr


@pytest.fixture
def borrowed(run, digits, tmp_path):
    """A folder with an index that names a picture beside it, a link and two from elsewhere."""
    folder, elsewhere = tmp_path / "borrowed", tmp_path / "private"
    for place in (folder, elsewhere):
        place.mkdir()
        Image.new("L", (8, 8), 128).save(place / "own.png")
    (folder / "link.png").symlink_to(elsewhere / "own.png")
    names = [folder / "own.png", folder / "link.png", elsewhere / "own.png"]
    names.append(f"{folder}/../private/own.png")
    np.save(folder / "index.npy", np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32))
    (folder / "index.names.json").write_text(json.dumps([str(name) for name in names]))
    return folder / "index.npy", elsewhere


def searched(run, digits, index, page, **options):
    vkd.search(run, [digits / "queries" / "30.png"], index, output=page, **options)
    text = page.read_text()
    return len(re.findall('alt="[^"]*which is not opened', text)), text.count("<img")


def test_an_index_opens_no_pictures_outside_of_its_folder(run, digits, borrowed, tmp_path, caplog):
    index, elsewhere = borrowed
    assert searched(run, digits, index, tmp_path / "page.html") == (3, 5)
    assert "not opened, as they lie outside of the folders of the index: 3" in caplog.text
    asked = searched(run, digits, index, tmp_path / "asked.html", image_folder=elsewhere)
    assert asked == (0, 5)  # the link by what it leads to


def test_an_index_opens_pictures_below_the_current_folder(
    run, digits, borrowed, tmp_path, monkeypatch
):
    index, elsewhere = borrowed
    monkeypatch.chdir(elsewhere)
    assert searched(run, digits, index, tmp_path / "page.html") == (0, 5)


def test_a_folder_for_nothing_is_refused(run, digits, borrowed, tmp_path):
    index, elsewhere = borrowed
    query, page = [digits / "queries" / "30.png"], tmp_path / "page.html"
    for rest, where, text in [
        ({"output": page, "image_folder": tmp_path / "no"}, index, "is no folder"),
        ({"output": page, "image_folder": elsewhere}, digits / "index", "has no effect unless"),
        ({"image_folder": elsewhere}, index, "has no effect without output"),
    ]:
        with pytest.raises(UserError, match=f"image_folder {text}"):
            vkd.search(run, query, where, **rest)


def test_bad_input_is_one_sentence(run, digits, digits_teacher, tmp_path, vkd):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_text("no picture")
    np.save(tmp_path / "other.npy", np.ones((2, 7), np.float32))
    (tmp_path / "other.names.json").write_text('["a.png", "b.png"]')
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    query, index = digits / "queries" / "30.png", digits / "index"
    teacher = ("--index-by", "teacher")
    for checkpoint, place, rest, sentence in [
        (run, tmp_path / "empty", (), "holds no pictures"),
        (run, tmp_path / "absent", (), "--index: there is no"),
        (run, tmp_path / "absent.npy", (), "There is no file"),
        (run, tmp_path / "bad.png", (), "--index: no picture of .* can be read"),
        (run, tmp_path / "other.npy", (), "has 7 features a picture, and the student has 32"),
        (run, tmp_path / "other.npy", teacher, "has 7 features a picture, and the teacher has"),
        (run, index, ("--fold",), "--fold has no effect unless index_by"),
        (run, index, ("--index-by", "both"), "--index-by must be one of student, teacher"),
        (run, index, ("--count", 0), "--count must be from 1 to"),
        (run, index, ("--output", "a.pdf"), r"--output must end in \.html or \.png"),
        (run, index, ("--save-index", "a.csv"), r"--save-index must end in \.npy or \.parquet"),
        (run, index, (*teacher, "--teacher-checkpoint", tmp_path / "no"), "no checkpoint at"),
        (alone, index, teacher, "has no orthogonal projection beside it"),
        (digits_teacher, index, (), "is of the task classification, whose models cannot search"),
    ]:
        done = vkd("search", "--checkpoint", checkpoint, "--index", place, query, *rest)
        assert done.returncode == 2, done.stderr
        last = done.stderr.splitlines()[-1]
        assert re.search(sentence, last), last
        assert len(last) <= 300
    done = vkd("search", "--checkpoint", run, "--index", index, tmp_path / "bad.png")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"vkd: {tmp_path / 'bad.png'} is not an image."
