"""Your own network, teacher, loss and data in the trainer, and what a run says of them."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import vkd
from vkd.cli import main
from vkd.errors import UserError
from vkd.methods.catalogue import METHODS, MethodEntry, register_method
from vkd.methods.method import Method, Signals, Sizes, needed
from vkd.recipe import read_recipe
from vkd.teacher import TeacherOutput
from vkd.training.records import read_metrics

QUICK = {"epochs": 2, "warmup_epochs": 0, "device": "cpu", "trackers": "", "show": False}


class Net(nn.Module):
    """A network that no registry knows."""

    def __init__(self, width=16):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU())
        self.head = nn.Linear(width, 3)

    def forward(self, images):
        return self.head(self.body(images))


class Cosine(Method):
    """One minus the cosine of the projected student's and the teacher's features."""

    def __init__(self, sizes: Sizes, *, power: float = 1.0):
        super().__init__(sizes)
        self.project = nn.Linear(sizes.student_dim, sizes.teacher_dim, bias=False)
        self.power = power

    def forward(self, signals: Signals):
        student, teacher = needed(signals, self)
        similarity = nn.functional.cosine_similarity(self.project(student), teacher)
        return (1 - similarity).mean() ** self.power


def blobs(count, seed):
    """Images (1, 8, 8) whose brightness in three places tells their class."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = 0.3 * torch.randn(count, 1, 8, 8, generator=random)
    for label in range(3):
        images[labels == label, 0, :, 2 * label : 2 * label + 2] += 1
    return TensorDataset(images, labels)


@pytest.fixture
def data():
    return vkd.splits_of(blobs(240, 0), blobs(60, 1), blobs(60, 2), classes=["a", "b", "c"])


def test_everything_may_be_an_object(data, tmp_path):
    folder = tmp_path / "run"
    torch.manual_seed(0)
    student, teacher = Net(), Net(32)
    metrics = vkd.train(
        "digits", folder, student=student, teacher=teacher, loss=Cosine, data=data,
        student_layer="body", teacher_layer="body", **(QUICK | {"epochs": 12}),
    )  # fmt: skip
    assert metrics["accuracy"] > 80
    assert "feature" in read_metrics(folder)[-1]["train"]
    assert read_recipe(str(folder / "recipe.yaml"))["objects"] == {
        "student": "Net", "teacher": "Net", "loss": "Cosine", "data": "Splits",
    }  # fmt: skip
    evaluated = vkd.evaluate(str(folder), student=Net(), data=data)
    assert evaluated["accuracy"] > 80
    assert evaluated["parameters"] == sum(p.numel() for p in Net().parameters())
    assert "vkd.load_checkpoint(Net()" in (folder / "README.md").read_text()


def test_eval_says_in_one_sentence_what_it_needs(data, tmp_path, capsys):
    folder = tmp_path / "run"
    vkd.train("digits", folder, student=Net(), data=data, method="none", **QUICK)
    for given in ({}, {"data": data}):
        with pytest.raises(UserError, match=r"student given as a Python object \(Net\)"):
            vkd.evaluate(str(folder), **given)
    with pytest.raises(UserError, match=r"data given as a Python object \(Splits\)"):
        vkd.evaluate(str(folder), student=Net())
    assert main(["eval", "--checkpoint", str(folder)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert len(message) <= 300


def test_a_name_and_an_object_mix(data, tmp_path):
    """A student of timm's, for data and a teacher that are objects."""

    def teacher(images, indices=None):
        return TeacherOutput({"pixels": images.flatten(1)[:, :20]}, None)

    metrics = vkd.train(
        "digits", tmp_path / "run", student=None, teacher=teacher, data=data, **QUICK
    )
    assert metrics["accuracy"] > 33
    # Its file holds classes and inputs, so the student alone is rebuilt from the recipe.
    assert vkd.evaluate(str(tmp_path / "run"), data=data)["accuracy"] > 33
    predicted = vkd.create_model("conv_vit_digits", tmp_path / "run")
    assert predicted(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


def test_a_loss_without_weight_is_refused(data, tmp_path):
    with pytest.raises(UserError, match="feature_weight is 0, so the loss"):
        vkd.train("digits", tmp_path / "run", loss=Cosine, data=data, feature_weight=0.0, **QUICK)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def cosine():
    register_method("cosine", MethodEntry(target=Cosine, compares="features", weight=2.0))
    yield
    del METHODS["cosine"]


def test_a_new_method_is_one_file_and_one_line(cosine, digits_teacher, tmp_path, capsys):
    """It serves classification and the discriminator, from Python and the command line."""
    command = [
        "train", "digits", "--method", "cosine", "--method-options", "{power: 2.0}", "--epochs",
        "2", "--warmup-epochs", "0", "--output", str(tmp_path / "run"), "--teacher-checkpoint",
        str(digits_teacher), "--device", "cpu", "--trackers", "",
    ]  # fmt: skip
    assert main(command) == 0
    saved = read_recipe(str(tmp_path / "run" / "recipe.yaml"))
    assert (saved["method"], saved["feature_weight"]) == ("cosine", 2.0)
    assert read_metrics(tmp_path / "run")[-1]["train"]["feature"] > 0
    wrong = [*command[:4], "--method-options", "{pover: 2.0}", *command[6:]]
    wrong[wrong.index(str(tmp_path / "run"))] = str(tmp_path / "other")
    assert main(wrong) == 2
    assert "has no option 'pover'" in capsys.readouterr().err
    metrics = vkd.train(
        "gan-digits", tmp_path / "gan", method="cosine", epochs=1, samples=100, show=False,
        teacher_checkpoint=str(digits_teacher), extractor_checkpoint=str(digits_teacher),
        device="cpu", trackers="",
    )  # fmt: skip
    assert metrics["frechet_distance"] > 0


@pytest.mark.parametrize("name", [name for name in METHODS if name != "identity"])
def test_every_method_trains_a_classifier(name, digits_teacher, tmp_path):
    vkd.train(
        "digits", tmp_path / "run", method=name, teacher_checkpoint=str(digits_teacher),
        train_fraction=0.3, **(QUICK | {"epochs": 1}),
    )  # fmt: skip
    terms = read_metrics(tmp_path / "run")[0]["train"]
    assert set(terms) == {"label", "loss", METHODS[name].compares.removesuffix("s")}


@pytest.mark.parametrize(
    ("recipe", "method", "reason"),
    [
        ("digits-detection", "kd", "kd compares logits, which detection does not offer"),
        ("gan-digits", "dist", "dist compares logits, which generation does not offer"),
        ("digits-detection", "rkd", "compares samples with each other, and detection tokens"),
        ("digits-detection", "crd", "needs indices, which detection tokens do not have"),
    ],
)
def test_methods_that_make_no_sense_are_refused(recipe, method, reason, tmp_path):
    weights = tmp_path / "teacher.pth"
    torch.save(vkd.create_model("vidt_digits_large").state_dict(), weights)
    with pytest.raises(UserError, match=reason):
        vkd.train(recipe, tmp_path / "run", method=method, teacher_checkpoint=str(weights), **QUICK)


def test_an_objects_teacher_is_stored_and_its_student_exported(data, tmp_path):
    torch.manual_seed(0)
    teacher, store, run = Net(32), tmp_path / "store", tmp_path / "run"
    layers = {"student_layer": "body", "teacher_layer": "body"}
    sizes = vkd.cache(
        "digits", store, views=1, dtype="float32", teacher=teacher, data=data, show=False,
        device="cpu", trackers="", **layers,
    )  # fmt: skip
    assert (sizes["rows"], sizes["features"], sizes["logits"]) == (240, 32, 3)
    vkd.train("digits", run, student=Net(), data=data, teacher_store=str(store), **layers, **QUICK)
    assert read_metrics(run)[0]["train"]["feature"] > 0
    vkd.export(str(run), tmp_path / "net.pt2", student=Net())
    program = torch.export.load(tmp_path / "net.pt2").module()
    images = torch.randn(3, 1, 8, 8)
    expected = vkd.load_checkpoint(Net(), run)(images)
    torch.testing.assert_close(program(images), expected, atol=1e-4, rtol=1e-4)


def test_a_comparison_takes_objects(data, tmp_path):
    results = vkd.compare(
        "digits", ["none", "linear"], tmp_path / "c", seeds=2, processes=1, show=False,
        student=Net, teacher=Net(32), data=data, student_layer="body", teacher_layer="body",
        epochs=6, warmup_epochs=0, device="cpu",
    )  # fmt: skip
    found = {name: entry["accuracy"] for name, entry in results["methods"].items()}
    assert set(found) == {"none", "linear"}
    assert min(found["none"]) > 50
    losses = results["methods"]["none"]["loss"]
    assert losses[0] != losses[1]
