"""Models as folders: what they hold, who loads them, and what they do not give away."""

import getpass
import json
import re
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import resolve_model_data_config

import vkd
from support.commands import run_python
from vkd.cli import main
from vkd.errors import UserError
from vkd.models import create_model
from vkd.recipe import read_recipe
from vkd.tensor_files import save_tensors

DIGITS = torch.linspace(0, 1, 3 * 64).view(3, 1, 8, 8)
COLOURS = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)


@pytest.fixture(scope="module")
def colour_run(tmp_path_factory):
    """A run of one of timm's networks on images of its maker's."""
    images = [(image, index % 3) for index, image in enumerate(torch.randn(8, 3, 32, 32))]
    data = vkd.splits_of(images, images[:4], classes=3, mean=[0.1, 0.2, 0.3], std=[0.5] * 3)
    folder = tmp_path_factory.mktemp("colours") / "run"
    vkd.train(
        "digits", folder, data=data, student="test_vit", feature_weight=0.0, epochs=1,
        warmup_epochs=0, batch_size=4, device="cpu", trackers="", show=False,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
    """A weights file of a detector that says which recipe it belongs to."""
    torch.manual_seed(0)
    metadata = {
        "recipe": json.dumps(dict(read_recipe("digits-detection"))),
        "architecture": "vidt_digits",
        "categories": json.dumps({"ids": list(range(10)), "names": [f"c{i}" for i in range(10)]}),
    }
    file = tmp_path_factory.mktemp("detector") / "weights.safetensors"
    save_tensors(dict(create_model("vidt_digits").state_dict()), file, metadata)
    return file


@pytest.fixture
def published(digits_run, tmp_path):
    """A run of digits, published."""
    return vkd.save_pretrained(digits_run, tmp_path / "published", license="apache-2.0")


def outputs(model, images):
    with torch.no_grad():
        return model.eval()(images)


def test_timm_alone_loads_a_network_of_its_own_and_none_of_ours(colour_run, digits_run, tmp_path):
    folder = vkd.save_pretrained(colour_run, tmp_path / "published")
    vkd.save_pretrained(digits_run, tmp_path / "ours")
    expected = outputs(create_model("test_vit", colour_run), COLOURS)
    torch.save({"images": COLOURS, "expected": expected}, tmp_path / "outputs.pth")
    code = (
        "import sys, timm, torch\n"
        "model = timm.create_model('local-dir:published', pretrained=True).eval()\n"
        "case = torch.load('outputs.pth')\n"
        "assert torch.equal(model(case['images']), case['expected'])\n"
        "assert model.num_classes == 3 and model.patch_embed.img_size == (32, 32)\n"
        "assert not any(name.split('.')[0] == 'vkd' for name in sys.modules)\n"
        "try:\n    timm.create_model('local-dir:ours', pretrained=True)\n"
        "except RuntimeError as error:\n    print(error)\n"
    )
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Unknown model (conv_vit_digits)\n"
    prepared = resolve_model_data_config(timm.create_model(f"local-dir:{folder}"))
    assert prepared["mean"] == pytest.approx((0.1, 0.2, 0.3))
    assert tuple(prepared["std"]) == (0.5, 0.5, 0.5)
    assert (prepared["input_size"], prepared["crop_pct"]) == ((3, 32, 32), 1.0)
    card = (folder / "README.md").read_text()
    assert "With timm alone" in card
    assert "library_name: timm" in card
    assert "Trained on data given in Python." in card


def test_timm_loads_ours_once_they_are_registered(digits_run, published):
    expected = outputs(create_model("conv_vit_digits", digits_run), DIGITS)
    model = timm.create_model(f"local-dir:{published}", pretrained=True)
    assert torch.equal(outputs(model, DIGITS), expected)
    assert model.pretrained_cfg["label_names"] == [str(digit) for digit in range(10)]
    assert "import vkd.models" in (published / "README.md").read_text()


@pytest.mark.parametrize(
    "name", ["conv_vit_fashion", "cnn_digits", "deit_fashion_distilled", "test_resnet"]
)
def test_networks_without_a_run_are_loaded_by_timm_and_by_us(name, tmp_path):
    model = timm.create_model(name, num_classes=4).train()
    vkd.save_pretrained(model, tmp_path / "model")
    assert model.training
    size = timm.create_model(f"local-dir:{tmp_path / 'model'}").pretrained_cfg["input_size"]
    images = torch.randn(2, *size)
    expected = outputs(model, images)
    for loaded in (
        timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True),
        vkd.from_pretrained(tmp_path / "model"),
    ):
        assert torch.equal(outputs(loaded, images), expected)


def test_what_timm_publishes_of_other_weights_is_not_said_of_these(tmp_path):
    model = timm.create_model("resnet10t", num_classes=3)
    assert model.pretrained_cfg["license"] == "apache-2.0"
    vkd.save_pretrained(model, tmp_path / "model")
    told = json.loads((tmp_path / "model" / "config.json").read_text())["pretrained_cfg"]
    assert not {"license", "tag", "hf_hub_id", "url", "origin_url"} & told.keys()
    vkd.save_pretrained(model, tmp_path / "given", license="mit")
    told = json.loads((tmp_path / "given" / "config.json").read_text())["pretrained_cfg"]
    assert told["license"] == "mit"


def test_a_generator_is_loaded_by_us_alone(gan_run, tmp_path):
    folder = vkd.save_pretrained(gan_run, tmp_path / "published")
    ours, theirs = vkd.from_pretrained(folder), create_model("biggan", gan_run).eval()
    noise, labels = theirs.draw(3), torch.arange(3)
    with torch.no_grad():
        assert torch.equal(ours(noise, labels), theirs(noise, labels))
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "unconditional-image-generation"
    assert "timm.create_model" not in card.text
    assert set(load_file(folder / "model.safetensors")) == set(theirs.state_dict())


def test_a_detector_is_published_from_its_weights_alone(detector_file, tmp_path, caplog):
    folder = vkd.save_pretrained(detector_file, tmp_path / "published")
    images = [torch.randn(3, 64, 64)]
    found = outputs(vkd.from_pretrained(folder), images)
    expected = outputs(create_model("vidt_digits", detector_file), images)
    assert torch.equal(found["pred_boxes"], expected["pred_boxes"])
    assert json.loads((folder / "config.json").read_text())["label_names"][3] == "c3"
    assert "no metrics of the weights are known" in caplog.text
    assert "None are known." in (folder / "README.md").read_text()


def test_the_card_is_the_hubs_and_tells_what_the_run_does(published, digits_run):
    card = ModelCard.load(published / "README.md")
    data = card.data
    assert (data.license, data.library_name) == ("apache-2.0", "vkd")
    assert data.pipeline_tag == "image-classification"
    assert "arxiv:2403.06213" in data.tags
    record = json.loads((digits_run / "metrics.jsonl").read_text().splitlines()[-1])
    measured = {result.metric_type: result for result in data.eval_results}
    assert measured.keys() == record["validation"].keys()
    for name, value in record["validation"].items():
        assert measured[name].metric_value == pytest.approx(value, rel=1e-5)
    best = measured["accuracy"]
    assert (best.dataset_name, best.dataset_split) == ("digits", "validation")
    assert best.metric_name == "accuracy, %"
    for part in ("distilled from `cnn_digits`", "projection orthogonal", "layer_norm", "0.03 M",
                 "of the training data: not stated", "epochs: 12", "timm 1"):  # fmt: skip
        assert part in card.text, part


def test_the_cards_own_lines_run(published, monkeypatch):
    text = (published / "README.md").read_text()
    codes = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(codes) == 2
    monkeypatch.chdir(published.parent)
    answers = []
    for code in codes:
        names = {}
        exec(code, names)
        answers.append(outputs(names["model"], DIGITS))
    assert torch.equal(*answers)
    (shell,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    evaluated = next(line for line in shell.splitlines() if line.startswith("vkd eval"))
    assert main(evaluated.split()[1:]) == 0


def test_evaluation_is_that_of_the_run(vkd, published, digits_run):
    lines = [
        vkd("eval", "--checkpoint", folder).stdout.splitlines()[:-1]
        for folder in (published, digits_run)
    ]
    assert lines[0] == lines[1] != []


def test_nothing_of_the_machine_or_the_training_is_given_away(digits_run, tmp_path, caplog):
    folder = vkd.save_pretrained(digits_run, tmp_path / "published", projection=True)
    assert {file.name for file in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "projection.safetensors",
    }  # fmt: skip
    student = create_model("conv_vit_digits").state_dict()
    assert set(load_file(folder / "model.safetensors")) == set(student)
    teacher = json.loads(safe_open(digits_run / "model.safetensors", "pt").metadata()["recipe"])
    assert Path(teacher["teacher_checkpoint"]).is_absolute()
    places = {tmp_path, digits_run.parent, Path.home(), Path.cwd()}
    strangers = {getpass.getuser(), Path.home().name} - {"root"}
    for file in folder.iterdir():
        content = file.read_bytes()
        for secret in [*map(str, places), *strangers]:
            assert secret.encode() not in content, (file.name, secret)
        assert not re.search(rb'["\'` (=](/[\w.-]+){2,}', content), file.name
    name = Path(teacher["teacher_checkpoint"]).name
    for file in ("model.safetensors", "projection.safetensors"):
        metadata = safe_open(folder / file, "pt").metadata()
        assert json.loads(metadata["recipe"])["teacher_checkpoint"] == name
    note = "paths of the recipe are cut to their last names (teacher_checkpoint)"
    assert note in caplog.text
    assert (
        "Paths are cut to their last names: teacher_checkpoint."
        in (folder / "README.md").read_text()
    )


def test_the_card_names_what_the_student_started_from_and_the_data(tmp_path):
    recipe = {
        "task": "classification", "dataset": "folder", "data_path": "/home/alice/pets",
        "student": "resnet10t", "student_checkpoint": "hub", "student_layer": "layer4",
    }  # fmt: skip
    metadata = {"recipe": json.dumps(recipe), "architecture": "resnet10t"}
    file = tmp_path / "weights.safetensors"
    save_tensors(dict(create_model("resnet10t", num_classes=2).state_dict()), file, metadata)
    card = ModelCard.load(vkd.save_pretrained(file, tmp_path / "published") / "README.md")
    assert card.data.base_model == timm.create_model("resnet10t").pretrained_cfg["hf_hub_id"]
    assert "- Data: folder, `pets`\n- Method: trained alone" in card.text
    assert "arxiv:2403.06213" not in card.data.tags
    assert "alice" not in card.text


def test_others_may_read_the_files(published):
    assert len({file.stat().st_mode for file in published.iterdir()}) == 1


def test_nothing_is_overwritten_unasked(published, digits_run, tmp_path):
    card = published / "README.md"
    card.write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        vkd.save_pretrained(digits_run, published)
    assert card.read_text() == "mine"
    (published / "notes.txt").write_text("mine")
    (published / "projection.safetensors").write_bytes(b"of another model")
    vkd.save_pretrained(digits_run, published, overwrite=True)
    assert card.read_text() != "mine"
    assert (published / "notes.txt").read_text() == "mine"
    assert not (published / "projection.safetensors").exists()
    for folder, words in ((digits_run, "is a run folder"), (card, "is a file")):
        with pytest.raises(UserError, match=words):
            vkd.save_pretrained(digits_run, folder, overwrite=True)
    with pytest.raises(UserError, match=r"no projection\.safetensors beside"):
        vkd.save_pretrained(digits_run / "model.safetensors", tmp_path / "new", projection=True)
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


def test_licences_are_never_guessed(digits_run, tmp_path, caplog):
    vkd.save_pretrained(digits_run, tmp_path / "one")
    assert "unknown: license, teacher_license, data_license" in caplog.text
    assert ModelCard.load(tmp_path / "one" / "README.md").data.license is None
    given = {"license": "mit", "teacher_license": "apache-2.0", "data_license": "cc-by-4.0"}
    caplog.clear()
    vkd.save_pretrained(
        digits_run, tmp_path / "two", **given, datasets=["uci/digits"], base_model="me/start"
    )
    assert "unknown" not in caplog.text
    card = ModelCard.load(tmp_path / "two" / "README.md")
    assert (card.data.datasets, card.data.base_model) == (["uci/digits"], "me/start")
    assert "of the teacher's weights: apache-2.0" in card.text
    assert "not stated" not in card.text


def test_networks_of_ones_own_are_given_again(tmp_path):
    def network():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))

    vkd.train(
        "digits", tmp_path / "run", student=network(), feature_weight=0.0, epochs=1,
        warmup_epochs=0, device="cpu", trackers="", show=False,
    )  # fmt: skip
    with pytest.raises(UserError, match="given as a Python object"):
        vkd.save_pretrained(tmp_path / "run", tmp_path / "published")
    vkd.save_pretrained(tmp_path / "run", tmp_path / "published", student=network())
    loaded = vkd.from_pretrained(tmp_path / "published", student=network())
    assert loaded[1].weight.equal(load_file(tmp_path / "run" / "model.safetensors")["1.weight"])
    with pytest.raises(UserError, match="no model 'Sequential'"):
        vkd.from_pretrained(tmp_path / "published")
    with pytest.raises(UserError, match="architecture must be the name"):
        vkd.save_pretrained(network(), tmp_path / "other")


def test_metrics_are_those_of_the_weights_epoch(digits_run, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("model.safetensors", "recipe.yaml"):
        (run / name).write_bytes((digits_run / name).read_bytes())
    # Of twelve epochs, as the file says, and one more that was killed before it saved.
    record = {"epoch": 12, "seconds": 1.0, "train": {}, "validation": {"accuracy": 10.0}}
    later = record | {"epoch": 13, "validation": {"accuracy": 99.0}}
    (run / "metrics.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(later)}\n")
    folder = vkd.save_pretrained(run, tmp_path / "published")
    (result,) = ModelCard.load(folder / "README.md").data.eval_results
    assert result.metric_value == 10.0


def test_the_command_writes_a_folder(vkd, digits_run, tmp_path):
    target = tmp_path / "published"
    done = vkd("publish", "--checkpoint", digits_run, "--output", target, "--license", "mit",
               "--datasets", "a/b, c", "--title", "Digits")  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{target}\n")
    card = ModelCard.load(target / "README.md")
    assert (card.data.license, card.data.datasets) == ("mit", ["a/b", "c"])
    assert "\n# Digits\n" in card.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--output is required: a new folder; or give --repo-id OWNER/NAME."),
        (["--output", "x", "--private"], "--private has no effect without --repo-id."),
        (["--repo-id", "me"], "--repo-id must be OWNER/NAME, found me."),
        (["--output", "x", "--license", "Apache 2"], "--license must be a name of the hub's"),
    ],
)
def test_wrong_flags_are_one_sentence(vkd, digits_run, arguments, words):
    done = vkd("publish", "--checkpoint", digits_run, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"vkd: {words}")
    assert len(done.stderr.splitlines()) == 1
