"""BigGAN, its augmentation and metrics, and the commands that use them."""

import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch_fidelity
from PIL import Image
from safetensors.torch import load_file
from scipy import linalg
from torch import nn
from torch.utils.data import Subset

from vkd import create_model, whiten
from vkd.api.evaluate import evaluate
from vkd.api.predict import predict
from vkd.api.train import train
from vkd.errors import RunError, UserError
from vkd.generation.augmentation import _cut_out, _translate, diff_augment
from vkd.generation.config import GenerationConfig
from vkd.generation.data import read_generation, subset_indices
from vkd.generation.extractors import frozen_network
from vkd.generation.metrics import ExtractorOutput, frechet_distance, generation_metrics
from vkd.generation.module import DiscriminatorModule, GeneratorModule
from vkd.generation.task import GenerationTask
from vkd.models.biggan import Discriminator, Generator
from vkd.recipe import config_of, read_recipe
from vkd.teacher import TeacherOutput
from vkd.training.checkpoint import read_metrics


def small(**changes):
    """A small GAN on digits, whose teacher and extractor are given."""
    values = read_recipe("gan-digits") | {
        "channels": 4, "noise_dim": 8, "epochs": 2, "samples": 200, "evaluate_every": 1,
        "checkpoint_every": 1, "device": "cpu", "trackers": "", "fraction": 0.2,
    }  # fmt: skip
    return config_of(values | changes)


@pytest.fixture(scope="module")
def config(digits_teacher):
    teacher = {"teacher_checkpoint": str(digits_teacher)}
    return small(**teacher, extractor_checkpoint=str(digits_teacher))


def test_sizes_are_those_of_biggan_for_cifar():
    generator, discriminator = Generator(channels=64), Discriminator(channels=64)
    images = generator(torch.randn(2, 128), torch.tensor([1, 7]))
    assert images.shape == (2, 3, 32, 32)
    assert images.abs().max() <= 1
    logits, features = discriminator(images, torch.tensor([1, 7]))
    assert logits.shape == (2,)
    assert features.shape == (2, 256)
    # The published configuration has 4.3 M and 4.2 M parameters at this width.
    sizes = [sum(p.numel() for p in net.parameters()) / 1e6 for net in (generator, discriminator)]
    assert sizes == pytest.approx([4.3, 4.2], abs=0.2)


def test_classes_move_images_and_logits():
    torch.manual_seed(0)
    generator, discriminator = Generator(channels=4).train(), Discriminator(channels=4)
    for block in generator.blocks:
        nn.init.normal_(block.norm1.scale.weight)
    noise = torch.randn(2, 128)
    first, second = (generator.eval()(noise, torch.tensor(labels)) for labels in ([0, 1], [0, 2]))
    assert first[0].equal(second[0])
    assert not first[1].equal(second[1])
    logits = [discriminator.eval()(first, torch.tensor(labels))[0] for labels in ([0, 1], [0, 2])]
    assert logits[0][0] == logits[1][0]
    assert logits[0][1] != logits[1][1]


def test_every_weight_of_the_discriminator_has_spectral_norm_one():
    torch.manual_seed(0)
    discriminator = Discriminator(channels=4).train()
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    for _ in range(200):
        discriminator(images, labels)
    for name, module in discriminator.eval().named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            value = torch.linalg.svdvals(module.weight.flatten(1))[0].item()
            assert value == pytest.approx(1, abs=0.02), name


def test_augmentation_has_gradients_and_leaves_the_range_of_places():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 32, 32, requires_grad=True)
    diff_augment(images).sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad != 0).float().mean() > 0.3
    ramp = torch.arange(1.0, 1025).view(1, 1, 32, 32).expand(200, 1, 32, 32)
    moved = _translate(ramp)
    for image in moved:
        rows, columns = (image[0] > 0).any(1).sum(), (image[0] > 0).any(0).sum()
        assert rows >= 28
        assert columns >= 28
        # What is there was moved whole: neighbours differ as before.
        inner = image[0][4:-4, 4:-4]
        assert ((inner[:, 1:] - inner[:, :-1]) == 1).all()
    hidden = (_cut_out(torch.ones(500, 1, 32, 32)) == 0).float().mean((1, 2, 3))
    assert hidden.max() <= 0.25 + 1e-6
    assert hidden.min() >= 0.05


@pytest.mark.parametrize("fraction", [0.1, 0.2, 1.0])
def test_shares_are_fixed_nested_and_balanced(fraction):
    labels = torch.arange(10).repeat(30)[torch.randperm(300)]
    chosen = subset_indices(labels, fraction, 0)
    assert chosen.equal(subset_indices(labels, fraction, 0))
    assert torch.bincount(labels[chosen]).tolist() == [round(30 * fraction)] * 10
    assert set(chosen.tolist()) <= set(subset_indices(labels, 1.0, 0).tolist())
    if fraction < 1:
        assert not chosen.equal(subset_indices(labels, fraction, 1))
        assert set(subset_indices(labels, 0.1, 0).tolist()) <= set(chosen.tolist())


def test_digits_become_images_of_the_generators_range():
    splits = read_generation("digits", fraction=0.5)
    image, label, index = (part[0] for part in splits.train.__getitems__([0]))
    assert image.shape == (1, 32, 32)
    assert -1 <= image.min() < -0.9
    assert 0.5 < image.max() <= 1
    assert int(index) == int(splits.indices[0])
    assert 0 <= int(label) < 10


def test_image_folders_are_read_at_the_generators_size(tmp_path):
    for split in ("train", "val"):
        for name in ("a", "b"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for index in range(4):
                pixels = np.full((40, 50, 3), 30 * index, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    splits = read_generation("folder", str(tmp_path), fraction=0.5)
    assert len(splits.train) == 4
    image = splits.train[0][0]
    assert image.shape == (3, 32, 32)
    assert splits.classes == ["a", "b"]


def test_cifar_in_its_published_files_is_checked(tmp_path):
    with pytest.raises(UserError, match="--data-path"):
        read_generation("cifar10")
    # A file of the right name and wrong content is not taken for CIFAR.
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"not it")
    with pytest.raises(RunError, match="cifar10 could not be fetched"):
        read_generation("cifar10", str(tmp_path))


def test_cifar_is_read_from_its_published_format(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        rows[name] = {"data": pixels, "labels": list(range(10)) * 2}
        (folder / name).write_bytes(pickle.dumps(rows[name]))
    names = {"label_names": [f"class {i}" for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))
    # Only the published bytes have the published checksum.
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    splits = read_generation("cifar10", str(tmp_path), fraction=0.2)
    assert len(splits.train) == 20
    assert splits.classes == names["label_names"]
    assert len(splits.test) == 20
    expected = rows["test_batch"]["data"][3].reshape(3, 32, 32) / 127.5 - 1
    torch.testing.assert_close(splits.test.images[3].double(), torch.from_numpy(expected))


def seen(count, dim=12, shift=0.0, seed=0):
    torch.manual_seed(seed)
    features = torch.randn(count, dim) * torch.linspace(0.5, 2, dim) + shift
    return ExtractorOutput(features, torch.randn(count, 10), torch.arange(count) % 10)


def test_the_frechet_distance_equals_its_formula_and_torch_fidelitys():
    first, second = seen(400).features, seen(300, shift=0.3, seed=1).features
    found = frechet_distance(first, second)
    means = [part.double().mean(0).numpy() for part in (first, second)]
    covariances = [np.cov(part.double().numpy(), rowvar=False) for part in (first, second)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    difference = means[0] - means[1]
    expected = difference @ difference + np.trace(sum(covariances) - 2 * root)
    assert found == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-4)


class Means(torch_fidelity.FeatureExtractorBase):
    """An extractor for torch-fidelity: means of 8 x 8 squares of each channel, also as logits."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list():
        return ("means",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "means"

    @staticmethod
    def can_be_compiled():
        return False

    @staticmethod
    def get_dummy_input_for_compile():
        return torch.zeros(1, 3, 32, 32, dtype=torch.uint8)

    def forward(self, images):
        return (means_of(images),)


def means_of(images):
    return torch.nn.functional.avg_pool2d(images.float(), 8).flatten(1) / 64


def test_all_metrics_equal_torch_fidelitys_own_run_on_the_same_images():
    torch.manual_seed(0)
    real = torch.randint(0, 256, (300, 3, 32, 32), dtype=torch.uint8)
    made = torch.randint(40, 256, (300, 3, 32, 32), dtype=torch.uint8)
    torch_fidelity.register_feature_extractor("means", Means)
    theirs = torch_fidelity.calculate_metrics(
        input1=Subset(made, range(300)), input2=Subset(real, range(300)),
        cuda=False, fid=True, kid=True, isc=True, prc=True, feature_extractor="means",
        kid_subsets=20, kid_subset_size=300, isc_splits=3, verbose=False, cache=False,
    )  # fmt: skip
    labels = torch.arange(300) % 10
    seen_real, seen_made = (
        ExtractorOutput(means_of(part), means_of(part), labels) for part in (real, made)
    )  # fmt: skip
    ours = generation_metrics(seen_real, seen_made, "inception")
    for name, key in {
        "FID": "frechet_inception_distance", "KID": "kernel_inception_distance_mean",
        "IS": "inception_score_mean", "precision": "precision", "recall": "recall",
    }.items():  # fmt: skip
        assert ours[name] == pytest.approx(theirs[key], rel=1e-5, abs=1e-9), name


def test_metrics_are_called_fid_with_inception_alone():
    real, made = seen(300), seen(300, shift=0.2, seed=1)
    with_inception = generation_metrics(real, made, "inception")
    local = generation_metrics(real, made, "cnn_digits")
    assert {"FID", "KID", "IS"} <= with_inception.keys()
    assert not {"FID", "KID", "IS"} & local.keys()
    assert local["frechet_distance"] == with_inception["FID"]
    assert {"accuracy", "coverage"} <= local.keys()


def test_precision_and_recall_fall_on_the_right_side():
    # Made images that are a small part of the real ones: precise, but they recall little.
    torch.manual_seed(0)
    real = ExtractorOutput(torch.randn(600, 4), torch.randn(600, 10), torch.arange(600) % 10)
    made = ExtractorOutput(0.2 * torch.randn(600, 4), torch.randn(600, 10), torch.arange(600) % 10)
    metrics = generation_metrics(real, made, "cnn_digits")
    assert metrics["precision"] > 0.9
    assert metrics["recall"] < 0.3
    assert metrics["diversity"] == pytest.approx(0.2, abs=0.05)


def test_accuracy_and_coverage_count_recognised_classes():
    labels = torch.arange(100) % 10
    logits = torch.nn.functional.one_hot(labels, 10).float()
    logits[labels == 3] = torch.nn.functional.one_hot(torch.tensor(5), 10).float()
    made = ExtractorOutput(torch.randn(100, 4), logits, labels)
    metrics = generation_metrics(seen(200, 4), made, "cnn_digits")
    assert metrics["accuracy"] == pytest.approx(90)
    assert metrics["coverage"] == pytest.approx(90)


def test_networks_see_images_as_they_were_trained(digits_teacher):
    from vkd.data.small import read_small

    splits = read_small("digits")
    network = frozen_network("cnn_digits", str(digits_teacher), "features")
    images, labels, _ = splits.test[:200] if isinstance(splits.test, list) else (
        splits.test.images[:200], splits.test.labels[:200], None)  # fmt: skip
    raw = images * splits.std[0] + splits.mean[0]
    direct = network.model.eval()(images)
    torch.testing.assert_close(network(raw * 2 - 1).logits, direct, atol=1e-4, rtol=1e-4)
    large = read_generation("digits").test
    found = network(large.images[:200]).logits.argmax(1)
    right, expected = ((part == labels).float().mean() for part in (found, direct.argmax(1)))
    assert right > expected - 0.1
    assert right > 0.5


def test_preparation_makes_grey_of_colours_and_colours_of_grey():
    grey = Preparation((0.5,), (0.25,), (8, 8))(torch.zeros(2, 3, 32, 32))
    assert grey.shape == (2, 1, 8, 8)
    assert grey.abs().max() < 1e-6
    colours = Preparation((0.5,) * 3, (0.25,) * 3, (16, 16))(torch.ones(2, 1, 32, 32))
    assert colours.shape == (2, 3, 16, 16)
    torch.testing.assert_close(colours, torch.full_like(colours, 2.0))


class Known:
    """A teacher whose features are the images' first numbers."""

    def __call__(self, images, indices=None):
        return TeacherOutput({"": images.flatten(1)[:, :20]}, torch.zeros(len(images), 10))


def test_the_discriminators_loss_is_hinge_and_distance_to_whitened_features():
    torch.manual_seed(0)
    generator, discriminator = Generator(10, 1, 4, 8), Discriminator(10, 1, 4)
    config = small(teacher_checkpoint="x", extractor_checkpoint="x", feature_weight=2.0)
    module = DiscriminatorModule(discriminator, generator, config, Known(), 20, "whiten").eval()
    images, labels = torch.rand(6, 1, 32, 32) * 2 - 1, torch.arange(6)
    torch.manual_seed(1)
    terms = module((images, labels, labels))
    torch.manual_seed(1)
    made_labels = torch.randint(10, (6,))
    with torch.no_grad():
        made = generator(torch.randn(6, 8), made_labels)
        real, features = discriminator(images, labels)
        fake, _ = discriminator(made, made_labels)
        target = whiten(images.flatten(1)[:, :20])
        projected = features @ module.loss.projection.weight.T
        distance = torch.nn.functional.smooth_l1_loss(projected, target)
    torch.testing.assert_close(terms["real"], (1 - real).clamp(min=0).mean())
    torch.testing.assert_close(terms["fake"], (1 + fake).clamp(min=0).mean())
    torch.testing.assert_close(terms["feature"], 2 * distance)


def test_each_module_trains_its_own_network_alone():
    torch.manual_seed(0)
    generator, discriminator = Generator(10, 1, 4, 8), Discriminator(10, 1, 4)
    config = small(teacher_checkpoint="x", extractor_checkpoint="x", diff_augment=True)
    modules = (GeneratorModule(generator, discriminator, config),
               DiscriminatorModule(discriminator, generator, config))  # fmt: skip
    batch = (torch.rand(6, 1, 32, 32), torch.arange(6), torch.arange(6))
    for module, trained, other in zip(
        modules, (generator, discriminator), (discriminator, generator), strict=True
    ):
        names = {id(p) for p in module.parameters()}
        assert names == {id(p) for p in trained.parameters()}
        torch.stack(list(module(batch).values())).sum().backward()
        assert all(p.grad is not None for p in trained.parameters())
        assert all(p.grad is None for p in other.parameters())
        trained.zero_grad(set_to_none=True)


def test_whitening_takes_its_statistics_of_all_training_images(config):
    task = GenerationTask(replace(config, whitening="data"))
    normalize = task.turns[1].module.loss.normalization
    teacher = task.turns[1].module.teacher
    images, _, _ = task.splits.train.__getitems__(list(range(len(task.splits.train))))
    white = normalize(teacher(images).only)
    variances = torch.linalg.eigvalsh(torch.cov(white.T))
    # 1 in every direction that the images span, but for the smallest.
    assert variances.max() < 1.05
    assert (variances > 0.95).sum() > 60
    by_batch = GenerationTask(replace(config, whitening="batch"))
    assert by_batch.turns[1].module.loss.normalization is whiten


def test_collapse_and_explosion_are_diagnosed(config):
    task = GenerationTask(config)
    assert task.diagnose({"real": 1.0}, {"diversity": 0.8}) == ""
    assert task.diagnose({"real": 1.0}, {}) == ""
    assert "collapsed" in task.diagnose({"real": 1.0}, {"diversity": 0.05})
    assert "generator exploded" in task.diagnose({"generator": -5e3}, {})


@pytest.mark.slow
def test_training_resumes_to_the_same_weights_bit_for_bit(config, tmp_path, train_in_two_parts):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, whole, show=False)
    train_in_two_parts(config, parts)
    first, second = (load_file(run / "model.safetensors") for run in (whole, parts))
    for name, weight in first.items():
        assert weight.equal(second[name]), name
    records = read_metrics(parts)
    assert set(records[0]["train"]) == {"generator", "real", "fake", "feature", "loss"}
    assert (whole / "samples" / "epoch-00002.png").is_file()
    assert len(load_file(whole / "subset.safetensors")["indices"]) == len(
        read_generation("digits", fraction=0.2).indices
    )
    weight = load_file(whole / "projection.safetensors")["weight"]
    torch.testing.assert_close(weight.T @ weight, torch.eye(16), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_run_that_goes_wrong_rolls_back_and_then_stops(config, tmp_path, monkeypatch, capsys):
    faults = iter(["", "It went wrong", "", "", "It went wrong", "It went wrong"])
    monkeypatch.setattr(GenerationTask, "diagnose", lambda *_: next(faults))
    changed = replace(config, epochs=4, rollbacks=2, samples=100)
    with pytest.raises(RunError, match=r"It went wrong in epoch 4; lower --lr"):
        train(changed, tmp_path / "run", show=False)
    notes = (tmp_path / "run" / "notes.txt").read_text().splitlines()
    assert notes[0] == "It went wrong in epoch 2; going on from epoch 1 with other random numbers."
    assert len(notes) == 2
    assert [record["epoch"] for record in read_metrics(tmp_path / "run")] == [1, 2, 3]


@pytest.mark.slow
def test_the_generator_steps_once_in_so_many_updates(config, tmp_path):
    train(replace(config, epochs=1, generator_every=4, samples=100), tmp_path / "run", show=False)
    with (tmp_path / "run" / "metrics.jsonl").open() as file:
        record = json.loads(file.readline())
    optimizers = [
        torch.load(tmp_path / "run/checkpoints/epoch-00001" / name, weights_only=True)
        for name in ("optimizer.bin", "optimizer_1.bin")
    ]
    steps = [next(iter(state["state"].values()))["step"] for state in optimizers]
    assert steps == [-(-record["updates"] // 4), record["updates"]]


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gan") / "run"
    train(config, folder, show=False)
    return folder


@pytest.mark.slow
def test_samples_are_made_by_class_and_seed(run, tmp_path, vkd):
    grid, folder = tmp_path / "grid.png", tmp_path / "folder"
    done = vkd("predict", "--checkpoint", run, "--output", grid, "--classes", "3,5", "--count", 4)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"image": str(grid), "classes": ["3", "5"]}
    with Image.open(grid) as picture:
        assert picture.size == (4 * 33 + 1, 2 * 33 + 1)
    records = predict(str(run), [], output=str(folder), classes="7", count=3, seed=5)
    assert [record["class"] for record in records] == ["7"] * 3
    model = create_model("biggan", run).eval()
    noise = model.draw(3, torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = model(noise, torch.tensor([7, 7, 7]))
    with Image.open(records[1]["image"]) as picture:
        pixels = torch.from_numpy(np.asarray(picture.convert("L"), dtype=np.float32))
    torch.testing.assert_close(pixels / 127.5 - 1, expected[1, 0], atol=0.02, rtol=0)
    wrong = vkd("predict", "--checkpoint", run, "--classes", "eleven", "--output", "x.png")
    assert wrong.returncode == 2
    assert "no class 'eleven'" in wrong.stderr
    assert vkd("predict", "--checkpoint", run, "picture.png").returncode == 2


@pytest.mark.slow
def test_evaluation_needs_the_run_folder_alone(run):
    metrics = evaluate(str(run), device="cpu")
    assert metrics["parameters"] == sum(p.numel() for p in create_model("biggan", run).parameters())
    assert metrics["frechet_distance"] > 0
    assert evaluate(str(run), device="cpu")["frechet_distance"] == metrics["frechet_distance"]


@pytest.mark.slow
def test_the_report_shows_samples_and_metrics_over_time(run, tmp_path, vkd):
    page = tmp_path / "report.html"
    done = vkd("report", run, "--output", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "Frechet distance" in text
    assert not re.search(r"\bFID\b", text)
    assert not re.search(r"""(src|href)=["']http""", text)


@pytest.mark.slow
def test_two_processes_measure_as_one(run, torchrun, vkd):
    alone = vkd("eval", "--checkpoint", run, "--device", "cpu").stdout
    together = torchrun("-m", "vkd", "eval", "--checkpoint", run, "--device", "cpu", processes=3)
    numbers = [
        dict(re.findall(r"^(\w+): (\S+)$", text, re.MULTILINE)) for text in (alone, together)
    ]
    for name, value in numbers[0].items():
        assert float(numbers[1][name]) == pytest.approx(float(value), rel=1e-3, abs=1e-6), name


@pytest.mark.slow
def test_two_processes_train_together(config, torchrun, digits_teacher, tmp_path):
    torchrun(
        "-m", "vkd", "train", "gan-digits", "--output", tmp_path / "run", "--channels", 4,
        "--noise-dim", 8, "--epochs", 1, "--samples", 100, "--fraction", 0.2, "--device", "cpu",
        "--teacher-checkpoint", digits_teacher, "--extractor-checkpoint", digits_teacher,
    )  # fmt: skip
    record = read_metrics(tmp_path / "run")[0]
    assert record["updates"] == 143 // 2 // 32 or record["updates"] == 2
    assert np.isfinite(list(record["train"].values())).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fraction": 0.0}, "--fraction"),
        ({"extractor": "cnn_digits", "extractor_recipe": ""}, "--extractor-checkpoint"),
        ({"samples": 10}, "--samples"),
        ({"channels": 3}, "--channels"),
        ({"beta1": 1.0}, "--beta1"),
    ],
)
def test_wrong_values_name_their_flag(changes, message):
    values = {"task": "generation"} | changes
    with pytest.raises(UserError, match=message):
        GenerationConfig(**values)


@pytest.mark.parametrize("name", ["biggan-cifar10", "biggan-cifar100"])
def test_the_papers_recipes_are_the_fields_settings(name):
    config = config_of(read_recipe(name) | {"fraction": 0.1})
    assert (config.batch_size, config.generator_every, config.beta1) == (50, 4, 0.0)
    assert (config.normalization, config.extractor) == ("whiten", "inception")
