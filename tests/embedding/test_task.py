"""Students learn features: the loss by its formula, what is measured, and what is refused."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import vkd
from vkd.api.train import train
from vkd.embedding.task import EmbeddingTask
from vkd.errors import FieldError, UserError
from vkd.models.checkpoints import read_checkpoint
from vkd.projection import OrthogonalProjection
from vkd.recipe import recipe
from vkd.training.records import read_metrics
from vkd.training.task import Objects

FAST = {
    "device": "cpu", "trackers": "", "epochs": 1, "warmup_epochs": 0, "train_fraction": 0.2,
    "evaluate_every": 2,
}  # fmt: skip


@pytest.fixture
def config(digits_teacher):
    """Make a recipe of digits with a teacher that is there."""

    def make(**changes):
        fields = {"teacher_checkpoint": str(digits_teacher)} | FAST | changes
        return recipe("digits-embedding", **fields)

    return make


def batch_of(task):
    torch.manual_seed(0)
    return next(iter(task.train_loader()))


def teacher_network(folder):
    return vkd.create_model("cnn_digits", read_checkpoint(folder), num_classes=0).eval()


def test_the_loss_is_the_papers_between_embeddings(config, digits_teacher):
    task = EmbeddingTask(config(feature_weight=3.0))
    module = task.steps[0].module.eval()
    images, labels, indices = batch_of(task)
    projection = module.get_submodule("loss.method.loss.projection")
    assert isinstance(projection, OrthogonalProjection)
    with torch.no_grad():
        student = module.student(images) @ projection.weight.T
        stated = read_checkpoint(digits_teacher).inputs
        ours = json.loads(task.metadata()["inputs"])
        # A share of the digits has statistics of its own.
        pixels = images * ours["std"][0] + ours["mean"][0]
        theirs = (pixels - stated["mean"][0]) / stated["std"][0]
        target = F.layer_norm(teacher_network(digits_teacher)(theirs), (128,))
        found = module.losses((images, labels, indices))["feature"]
    torch.testing.assert_close(found, 3 * F.smooth_l1_loss(student, target), rtol=1e-5, atol=1e-6)


def test_labels_have_no_part_in_it(config):
    task = EmbeddingTask(config())
    module = task.steps[0].module.eval()
    images, labels, indices = batch_of(task)
    other = module.losses((images, labels.flip(0), indices))
    assert torch.equal(module.losses((images, labels, indices))["feature"], other["feature"])


def test_grids_are_compared_place_by_place(config, digits_teacher):
    task = EmbeddingTask(config(dense=True))
    module = task.steps[0].module.eval()
    images, labels, indices = batch_of(task)
    network = teacher_network(digits_teacher)
    with torch.no_grad():
        tokens = module.student.forward_features(images)  # of 4 x 4 places
        maps = F.interpolate(network.features(images), (4, 4), mode="bilinear", antialias=True)
        projection = module.get_submodule("loss.method.loss.projection").weight
        target = F.layer_norm(maps.flatten(2).mT, (128,))
        expected = F.smooth_l1_loss(tokens @ projection.T, target)
        found = module.losses((images, labels, indices))["feature"]
    # Places of background hardly vary, so that normalising them makes more of rounding.
    torch.testing.assert_close(found, expected, rtol=5e-4, atol=1e-6)


def test_several_teachers_and_layers_are_weighed(config, digits_teacher):
    entry = {"name": "cnn_digits", "checkpoint": str(digits_teacher)}
    several = EmbeddingTask(
        config(
            teacher_checkpoint="",
            layers={"blocks.0": "features", "norm": "features"}, layer_weights={"blocks.0": 0.25},
            teachers=[entry, entry | {"weight": 0.5}],
        )
    )  # fmt: skip
    module = several.steps[0].module.eval()
    values = {}
    for name, loss in module.distiller.losses.items():
        loss.register_forward_hook(
            lambda _, __, value, name=name: values.update({name: float(value)})
        )
    with torch.no_grad():
        found = float(module.losses(batch_of(several))["feature"])
    assert list(values) == [
        "blocks.0 -> 0:features", "norm -> 0:features", "blocks.0 -> 1:features",
        "norm -> 1:features",
    ]  # fmt: skip
    expected = [w * v for w, v in zip((0.25, 1, 0.125, 0.5), values.values(), strict=True)]
    assert found == pytest.approx(sum(expected), rel=1e-5)


@pytest.mark.parametrize("method", ["vkd", "linear", "mlp", "srd", "rkd", "crd"])
def test_every_method_of_features_reaches_the_student(config, method):
    task = EmbeddingTask(config(method=method))
    module = task.steps[0].module
    loss = sum(module(batch_of(task)).values())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)


class Wide(nn.Module):
    """More features than the teacher's 128, and a layer that nothing asks for."""

    def __init__(self):
        super().__init__()
        self.body, self.idle = nn.Linear(64, 200), nn.Linear(3, 3)

    def forward(self, images):
        return self.body(images.flatten(1))


def test_a_student_wider_than_its_teacher_has_orthonormal_rows(config, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "vkd")
    train(config(), tmp_path / "run", show=False, student=Wide())
    matrix = load_file(tmp_path / "run" / "projection.safetensors")["weight"]
    assert matrix.shape == (128, 200)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(128), atol=1e-4, rtol=0)
    assert "2 of its parameters learn nothing" in caplog.text
    assert "idle.weight, idle.bias" in caplog.text


def test_without_a_method_the_student_stays_as_it_is(config, tmp_path):
    torch.manual_seed(0)
    student = Wide()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    metrics = train(config(method="none"), tmp_path / "run", show=False, student=student)
    for name, value in load_file(tmp_path / "run" / "model.safetensors").items():
        assert torch.equal(value, before[name])
    assert {"knn", "cka", "teacher_knn"} <= metrics.keys()


def test_learning_comes_nearer_to_the_teacher(config, tmp_path):
    short = {"epochs": 6, "train_fraction": 1.0}
    learned = train(config(**short), tmp_path / "vkd", show=False)
    alone = train(config(method="none"), tmp_path / "none", show=False)
    for name in ("cka", "cosine_correlation", "knn", "recall_1"):
        assert learned[name] > alone[name]
    # The teacher's own values do not depend on the student.
    own = {name: value for name, value in learned.items() if name.startswith("teacher_")}
    assert len(own) == 5
    for name in ("teacher_knn", "teacher_recall_5"):
        assert own[name] == alone[name] or short["train_fraction"] != FAST["train_fraction"]


def test_a_teacher_measured_by_itself_is_wholly_alike(config, digits_teacher, tmp_path):
    student = {"student": "cnn_digits", "student_checkpoint": str(digits_teacher)}
    found = train(config(method="none", **student), tmp_path / "run", show=False)
    assert found["cka"] == pytest.approx(1, abs=1e-4)
    assert found["cosine_correlation"] == pytest.approx(1, abs=1e-4)
    assert found["knn"] == found["teacher_knn"]
    assert found["recall_10"] == found["teacher_recall_10"]


def test_a_run_in_two_parts_is_the_run_in_one(config, tmp_path, train_in_two_parts):
    whole = config(epochs=2, crop_padding=1, evaluate_every=1, checkpoint_every=1, method="crd")
    train(whole, tmp_path / "one", show=False)
    train_in_two_parts(whole, tmp_path / "two")
    for file in ("model.safetensors",):
        one, two = (load_file(tmp_path / run / file) for run in ("one", "two"))
        assert all(torch.equal(value, two[name]) for name, value in one.items())
    first, second = (read_metrics(tmp_path / run) for run in ("one", "two"))
    assert [r["validation"] for r in first] == [r["validation"] for r in second]


class Several(nn.Module):
    """A layer that gives two tensors under names of its own, and one embedding."""

    def __init__(self):
        super().__init__()
        self.pair = Pair()

    def forward(self, images):
        return self.pair(images)["a"]


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 32)

    def forward(self, images):
        found = self.body(images.flatten(1))
        return {"a": found, "b": -found}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student_layer": "pair"}, "student_layer: The layer 'pair' returns dict, not a tensor"),
        ({"student_layer": "blocks.9"}, "student_layer: Several has no layer 'blocks.9'"),
        ({"teacher_layer": "nothing"}, "teacher_layer: SmallCNN has no layer 'nothing'"),
        ({"dense": True, "student_layer": "pair.body"}, "have no places for dense"),
        ({"method": "identity"}, "as many features as the teacher; found 32 and 128"),
    ],
)
def test_layers_that_cannot_be_compared_are_a_sentence(config, changes, message):
    with pytest.raises(UserError) as error:
        EmbeddingTask(config(**changes), Objects(student=Several()))
    assert message in str(error.value)
    assert len(str(error.value)) <= 300


def test_a_student_without_an_embedding_is_refused(config):
    with pytest.raises(UserError, match=r"must return one embedding \(N, D\) of each image"):
        EmbeddingTask(config(), Objects(student=Pair()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "kd"}, "compares logits, which embedding does not offer"),
        ({"layer_weights": {"norm": 2.0}}, "names 'norm', which layers does not have"),
        ({"layers": {"norm": "features"}, "teacher_layer": "features"}, "no effect with layers"),
        ({"teachers": [{"name": "cnn_digits"}]}, "has no effect with teachers"),
        ({"teacher_checkpoint": "", "teachers": [{"name": "cnn_digits"}]},
         "has no checkpoint of cnn_digits"),
        ({"teacher_checkpoint": "", "teachers": [{"nmae": "cnn_digits"}]}, "did you mean name"),
        ({"teacher_checkpoint": "", "teachers": [{"name": "a", "checkpoint": "b", "weight": "x"}]},
         "weight of at least 0"),
        ({"probe_path": "somewhere"}, "no effect with dataset digits, which has labels"),
        ({"dataset": "nothing"}, "must be one of auto"),
    ],
)  # fmt: skip
def test_fields_that_do_not_fit_are_refused(config, changes, message):
    with pytest.raises(FieldError) as error:
        config(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize("method", ["rkd", "crd"])
def test_grids_are_too_many_for_methods_between_samples(config, method):
    with pytest.raises(UserError, match=f"The method {method} .* grids of features"):
        EmbeddingTask(config(method=method, dense=True))
