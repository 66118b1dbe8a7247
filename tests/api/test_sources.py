"""Networks of every source as students and teachers: trained, evaluated, exported; and what is
refused, at the command line as well."""

import json
import re

import pytest
import torch
import yaml
from safetensors import safe_open

import vkd
from support.networks import SIDE, runs_of, save_network, write_file
from vkd.classification.data import student_format
from vkd.cli import main
from vkd.errors import UserError
from vkd.models import create_model
from vkd.recipe import read_recipe, recipe
from vkd.training.records import read_metrics

QUICK = {
    "epochs": 1, "warmup_epochs": 0, "batch_size": 4, "device": "cpu", "trackers": "",
    "show": False, "teacher_precision": "float32",
}  # fmt: skip
CLASSES = ["a", "b", "c"]


def squares(count):
    random = torch.Generator().manual_seed(count)
    return [(torch.randn(3, SIDE, SIDE, generator=random), index % 3) for index in range(count)]


@pytest.fixture(scope="module")
def data():
    return vkd.splits_of(squares(8), squares(4), squares(5), classes=CLASSES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    pytest.importorskip("transformers")
    place = tmp_path_factory.mktemp("saved")
    for kind in ("vit-classifier", "dinov2", "dinov3", "siglip", "swin-classifier", "convnext"):
        save_network(kind, place / kind)
    return place


# The teachers of Hugging Face's are folders, which bring their weights.
PAIRS = {
    "vit-classifier": "timm/test_resnet",
    "dinov2": "torchvision/resnet18",
    "dinov3": "torchvision/mobilenet_v3_small",
    "siglip": "torchvision/efficientnet_b0",
    "swin-classifier": "vit-classifier",
    "convnext": "siglip",
    "timm/test_resnet": "dinov3",
    "torchvision/resnet18": "swin-classifier",
    "torchvision/mobilenet_v3_small": "convnext",
    "torchvision/efficientnet_b0": "dinov2",
    "torchvision/swin_t": "timm/test_resnet",
    "timm/test_vit": "torchvision/swin_t",
}


def named(name, folders):
    return name if "/" in name else f"hf/{folders / name}"


@pytest.mark.parametrize("student", PAIRS)
def test_every_source_teaches_and_learns(student, folders, data, tmp_path, caplog):
    teacher, weights = named(PAIRS[student], folders), {}
    if not teacher.startswith("hf/"):
        model = create_model(teacher, num_classes=3)
        torch.save(model.state_dict(), tmp_path / "teacher.pth")
        weights["teacher_checkpoint"] = str(tmp_path / "teacher.pth")
    run, name = tmp_path / "run", named(student, folders)
    vkd.train("digits", run, data=data, student=name, teacher=teacher, **weights, **QUICK)
    assert read_metrics(run)[0]["train"]["feature"] > 0
    for role in ("student", "teacher"):
        assert re.search(rf"{role} .*: no layer is named, so its features are", caplog.text)
    # Rebuilt by the file alone, the same network gives the same outputs.
    images = torch.randn(2, 3, SIDE, SIDE)
    with safe_open(run / "model.safetensors", "pt") as file:
        assert file.metadata()["architecture"] == name
    model = create_model(str(run)).eval()
    assert model(images).shape == (2, 3)
    again = create_model(name, run / "model.safetensors").eval()
    assert model(images).equal(again(images))
    # Without its classifier it gives the features that this takes.
    features = create_model(str(run), num_classes=0).eval()(images)
    assert features.shape[1] > 3
    heads = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
    torch.testing.assert_close(heads[-1](features), model(images))
    assert vkd.evaluate(str(run), data=data)["parameters"] == sum(
        parameter.numel() for parameter in model.parameters()
    )


@pytest.mark.parametrize("student", ["vit-classifier", "dinov3", "torchvision/mobilenet_v3_small"])
def test_a_student_of_every_source_is_exported(student, folders, data, tmp_path):
    run = tmp_path / "run"
    vkd.train(
        "digits", run, data=data, student=named(student, folders), feature_weight=0.0, **QUICK
    )
    vkd.export(str(run), tmp_path / "student.pt2")
    program = torch.export.load(tmp_path / "student.pt2").module()
    images = torch.randn(3, 3, SIDE, SIDE)
    expected = create_model(str(run)).eval()(images)
    torch.testing.assert_close(program(images), expected, atol=1e-4, rtol=1e-4)


def test_a_run_teaches_by_its_folder_alone(digits_teacher, tmp_path, capsys):
    command = [
        "train", "digits", "--teacher", str(digits_teacher), "--epochs", "1", "--warmup-epochs",
        "0", "--device", "cpu", "--trackers", "", "--train-fraction", "0.2", "--output",
    ]  # fmt: skip
    run = tmp_path / "run"
    assert main([*command, str(run)]) == 0
    assert "the teacher is its cnn_digits, with its weights" in capsys.readouterr().err
    saved = read_recipe(str(run / "recipe.yaml"))
    assert (saved["teacher"], saved["teacher_checkpoint"]) == ("cnn_digits", str(digits_teacher))
    assert not (run / "teacher").exists()
    assert main([*command, str(run), "--resume"]) == 0
    # As a student a run brings its weights to start from.
    student = [*command, str(tmp_path / "next"), "--student", str(run)]
    assert main(student) == 0
    said = capsys.readouterr().err
    assert "the student is its conv_vit_digits, with its weights" in said
    assert "starts from it: " in said


@pytest.fixture
def file_run(tmp_path, data):
    """A run whose student is in a file of Python, and the file."""
    file, run = write_file(tmp_path), tmp_path / "run"
    vkd.train("digits", run, data=data, student=f"{file}:build", teacher=f"{file}:trained", **QUICK)
    return file, run


def test_code_is_run_only_where_the_user_names_it(file_run, data, tmp_path):
    file, run = file_run
    name = f"{file}:build"
    # A run's own metadata are no reason to run a file.
    refusal = r"model.safetensors: student is .*runs only where you name it; give it again"
    for step in (
        lambda: vkd.evaluate(str(run), data=data),
        lambda: vkd.export(str(run), tmp_path / "student.pt2"),
        lambda: vkd.predict(str(run), [str(file)]),
    ):
        with pytest.raises(UserError, match=refusal):
            step()
    with pytest.raises(UserError, match="runs only where you name it"):
        create_model(str(run))
    expected = vkd.evaluate(str(run), data=data, student=name)
    assert vkd.evaluate(str(run), data=data, student=name)["accuracy"] == expected["accuracy"]
    vkd.export(str(run), tmp_path / "student.pt2", student=name)
    assert (tmp_path / "student.pt2").is_file()
    given = {"student": name, "teacher": f"{file}:trained"}
    vkd.train("digits", run, data=data, resume=True, **given, **QUICK)


def test_a_recipe_that_names_code_is_refused(tmp_path, capsys):
    file, mine = write_file(tmp_path), tmp_path / "mine.yaml"
    fields = dict(read_recipe("digits")) | {"student": f"{file}:build", "feature_weight": 0.0}
    mine.write_text(yaml.safe_dump(fields))
    command = ["train", str(mine), "--epochs", "1", "--warmup-epochs", "0", "--device", "cpu",
               "--trackers", "", "--output", str(tmp_path / "run")]  # fmt: skip
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert re.search(r"mine.yaml, line \d+: student is .*give it again, as --student", told)
    with pytest.raises(UserError, match="runs only where you name it"):
        vkd.train(str(mine), tmp_path / "run")
    assert runs_of(file) == 0
    assert not (tmp_path / "run").exists()
    # Named again it runs, and does not take grey digits, which is said as well.
    assert main([*command, "--student", f"{file}:build"]) == 2
    assert "does not take images of 1 x 8 x 8" in capsys.readouterr().err
    assert runs_of(file) == 1


def test_a_run_of_code_does_not_teach_by_its_folder(file_run, capsys, tmp_path):
    _, run = file_run
    assert main(["train", "digits", "--teacher", str(run), "--output", str(tmp_path / "x")]) == 2
    told = capsys.readouterr().err
    assert "--teacher: " in told
    assert "runs only where you name it" in told
    assert len(told) <= 310


def test_photographs_come_as_the_students_source_publishes(tmp_path, caplog):
    changes = {"dataset": "folder", "data_path": "somewhere", "input_size": 64}
    found = student_format(recipe("digits", student="torchvision/resnet18", **changes))
    assert (found.interpolation, found.size) == ("bilinear", (64, 64))
    assert found.crop == 224 / 256
    assert not caplog.text
    file = write_file(tmp_path)
    assert student_format(recipe("digits", student=f"{file}:build", **changes)).channels == 3
    assert "does not say how its photographs are normalised" in caplog.text


class Idle(torch.nn.Module):
    """A network with a layer that never runs, and one that returns no tensor."""

    class Words(torch.nn.Module):
        def forward(self, images):
            return "no tensor"

    def __init__(self):
        super().__init__()
        self.body, self.idle, self.words = torch.nn.Flatten(), torch.nn.Identity(), Idle.Words()
        self.head = torch.nn.Linear(3 * SIDE * SIDE, 3)

    def forward(self, images):
        self.words(images)
        return self.head(self.body(images))


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize(
    ("layer", "sentence"),
    [("idle", "did not run in the forward pass"), ("words", "returns str, not a tensor")],
)
def test_a_layer_without_features_is_refused(role, layer, sentence, data, tmp_path):
    layers = {"student_layer": "body", "teacher_layer": "body"} | {f"{role}_layer": layer}
    with pytest.raises(UserError, match=f"{role}_layer: .*{sentence}"):
        vkd.train(
            "digits", tmp_path / "run", student=Idle(), teacher=Idle(), data=data, **layers, **QUICK
        )


def test_a_teacher_without_classes_has_no_logits(folders, data, tmp_path):
    """Even where it has as many features as the data have classes."""
    splits = vkd.splits_of(squares(8), squares(4), classes=32)
    with pytest.raises(UserError, match="has 0 classes and the data 32"):
        vkd.train(
            "digits", tmp_path / "run", data=splits, student="timm/test_resnet", method="kd",
            teacher=f"hf/{folders}/dinov2", **QUICK,
        )  # fmt: skip


def test_a_student_starts_from_a_saved_folder(folders, data, tmp_path, caplog):
    vkd.train(
        "digits", tmp_path / "run", data=data, student=f"hf/{folders}/dinov2",
        student_checkpoint="hub", feature_weight=0.0, **QUICK | {"lr": 0.0, "min_lr": 0.0},
    )  # fmt: skip
    assert re.search(r"classifier.weight, classifier.bias start anew", caplog.text)
    begun = create_model(f"hf/{folders}/dinov2", "hub").state_dict()
    ended = create_model(str(tmp_path / "run")).state_dict()
    assert all(value.equal(ended[name]) for name, value in begun.items())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--student", "torchvision/resnet81"], r"--student: .*did you mean torchvision/resnet1"),
        (["--student", "timm/resnet81"], r"--student: there is no model 'resnet81'; did you mean"),
        (["--student", "hf/nobody"], r"--student: .*names on the hub are OWNER/NAME"),
        (["--teacher", "no/such/run"], r"--teacher: there is no run folder, weights file or model"),
        (["--teacher", "owner/name"], r"--teacher: .*; of Hugging Face it is hf/owner/name"),
        (["--teacher", "net.py:nothing"], r"--teacher: there is no file net.py"),
        (["--teacher", "torchvision/resnet18"], r"--teacher torchvision/resnet18 needs its"),
        (["--student-layer", "nothing"], r"--student-layer: .*has no layer 'nothing'"),
        (["--student-layer", "patch_embed.dropout"], r"--student-layer: "),
        (["--student", "torchvision/vit_b_16", "--teacher-checkpoint", "RUN"],
         r"--student: torchvision/vit_b_16 (cannot be built|does not take)|cannot be built with"),
    ],
)  # fmt: skip
def test_bad_names_are_one_sentence(flags, sentence, digits_teacher, tmp_path, vkd):
    flags = [str(digits_teacher) if flag == "RUN" else flag for flag in flags]
    if "--teacher" not in flags and "--teacher-checkpoint" not in flags:
        flags += ["--teacher-checkpoint", digits_teacher]
    done = vkd("train", "digits", "--output", tmp_path / "run", "--device", "cpu", *flags)
    assert done.returncode == 2
    assert re.search(sentence, done.stderr.splitlines()[-1]), done.stderr
    assert len(done.stderr.splitlines()[-1]) <= 300


def test_layers_of_every_source_mark_the_default(vkd, folders):
    for name, layer in (
        ("torchvision/resnet18", "layer4"),
        ("timm/test_vit", "norm"),
        (f"hf/{folders}/vit-classifier", "vit:last_hidden_state"),
        (f"hf/{folders}/dinov3", ":last_hidden_state"),
    ):
        done = vkd("layers", name, "--input-size", "160" if "test_vit" in name else SIDE)
        assert done.returncode == 0, done.stderr
        (marked,) = [line for line in done.stdout.splitlines() if "<- by default: " in line]
        assert marked.endswith(f"<- by default: {layer}")
        assert marked.startswith(layer.split(":")[0])


def test_the_weights_file_of_a_hugging_face_student_holds_its_config(folders, data, tmp_path):
    name = f"hf/{folders}/dinov2"
    vkd.train("digits", tmp_path / "run", data=data, student=name, feature_weight=0.0, **QUICK)
    with safe_open(tmp_path / "run" / "model.safetensors", "pt") as file:
        options = json.loads(file.metadata()["options"])
    assert options["num_classes"] == 3
    assert json.loads(options["config"])["model_type"] == "dinov2"
