"""``vkd init`` on real photographs of digits: the recipe that it writes trains."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import yaml

import vkd
from support.photographs import distilled, write_folder, write_teacher
from vkd.errors import RunError, UserError
from vkd.init import recipe as recipe_module
from vkd.init.data import kinds_of
from vkd.init.trial import TooLargeError, Trial, try_out
from vkd.recipe import recipe


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Photographs with a teacher's weights, and the arguments that name them."""
    folder = tmp_path_factory.mktemp("pair")
    distilled(folder)
    return {
        "data_path": str(folder / "data"), "teacher": "resnet10t",
        "teacher_checkpoint": str(folder / "teacher.pth"), "student": "test_vit",
    }  # fmt: skip


def flags_of(pair):
    return [word for name, value in pair.items() for word in (f"--{name}", value)]


def a_trial(**changes):
    usual = Trial(8, 10, 0.5, 0.25, 3, 10**9, 10**10, "cpu")
    return replace(usual, **changes)


@pytest.mark.slow
def test_the_recipe_that_is_written_trains_for_an_epoch(pair, vkd_process, tmp_path):
    done = vkd_process("init", *flags_of(pair), "--epochs", 1, "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary, command = done.stdout.splitlines()
    assert re.search(r"1 epoch of 3 steps at [\d.]+ images/s, the median of 10 steps", summary)
    assert command == "vkd train recipe.yaml --output runs/recipe"
    trained = vkd_process(*command.split()[1:], cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "runs" / "recipe" / "model.safetensors").is_file()


def test_each_field_has_its_meaning_and_its_reason(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe_module, "try_out", lambda config: a_trial())
    written = vkd.init_recipe(**pair, output=tmp_path / "own.yaml", seed=3)
    text = written.file.read_text()
    values = yaml.safe_load(text)
    assert recipe(str(written.file)) == written.config
    assert values["student_layer"] == "norm"
    assert values["teacher_layer"] == "layer4"
    # Of pictures of 40 pixels, a multiple of 32.
    assert values["input_size"] == 64
    assert values["seed"] == 3
    comments = 0
    for block in text.split("\n\n"):
        *above, line = block.strip().splitlines()
        if re.match(r"\w+:", line):
            comments += 1
            why = " ".join(above)
            assert re.search(r"# (given|found|measured|guessed)(:|\.)", why), block
            assert len(above) >= 2, block
    assert comments == len(values)
    # Of tokens and maps at that size.
    assert "17 x 64 for an image" in text
    assert "512 x 2 x 2 for an image" in text
    # 100 epochs of 3 steps of half a second.
    assert "Training takes about 2 min" in text
    assert "reading took 25%" in " ".join(text.replace("#", "").split())
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    assert max(len(line) for line in comments if "vkd train" not in line) <= 100


def test_odd_names_end_no_comment(pair, tmp_path):
    target = tmp_path / "a\nseed: 7\u2028seed: 8\x07.yaml"
    written = vkd.init_recipe(**pair, output=target, measure=False)
    assert recipe(str(target)) == written.config
    assert written.config.seed == 0


def test_logits_are_compared_where_the_teacher_names_the_classes(pair, tmp_path):
    from vkd.tensor_files import save_tensors

    network = timm.create_model("resnet10t", num_classes=3)
    weights = tmp_path / "teacher.safetensors"
    found = {}
    for classes, weight in (('["n02", "n00", "n01"]', 1.0), ('["a", "b", "c"]', 0.0)):
        save_tensors(network.state_dict(), weights, {"classes": classes})
        changes = {"teacher_checkpoint": weights, "output": tmp_path / f"{weight}.yaml"}
        found[weight] = vkd.init_recipe(**pair | changes, measure=False).config.logit_weight
    assert found == {1.0: 1.0, 0.0: 0.0}


def test_the_batch_is_halved_until_a_step_fits(pair, tmp_path, monkeypatch, caplog):
    tried = []

    def steps(config):
        tried.append(config.batch_size)
        if len(tried) == 1:
            raise TooLargeError("no")
        return a_trial(batch_size=config.batch_size, memory=10**10 if len(tried) == 2 else 10**9)

    monkeypatch.setattr(recipe_module, "try_out", steps)
    written = vkd.init_recipe(**pair, output=tmp_path / "own.yaml")
    assert tried == [8, 4, 2]
    assert written.config.batch_size == 2
    # The rate follows: 1e-3 (2 / 1024)^0.5.
    assert written.config.lr == pytest.approx(4.4e-5)
    assert "measured: a step of 4 images takes 10.0 GB" in written.file.read_text()
    monkeypatch.setattr(recipe_module, "try_out", lambda config: a_trial(memory=10**10))
    with pytest.raises(RunError, match="A step of 8 images takes"):
        vkd.init_recipe(**pair, output=tmp_path / "given.yaml", batch_size=8)
    assert not (tmp_path / "given.yaml").exists()


def test_a_trial_counts_steps_of_the_real_training(pair):
    changes = {"dataset": "folder", "input_size": 32, "student_layer": "norm", "workers": 0,
               "batch_size": 8, "feature_weight": 1.0, "device": "cpu"}  # fmt: skip
    config = recipe("deit-tiny-imagenet", **pair, **changes, logit_weight=0.0, mixup=0.0,
                    cutmix=0.0, mixed_precision="no")  # fmt: skip
    found = try_out(config, steps=4, seconds=30.0)
    assert (found.updates, found.batch_size, found.steps) == (3, 8, 4)
    assert 0 <= found.reading < 1
    # A process with torch in it, and no more than there is.
    assert 10**8 < found.memory < found.available
    assert found.epochs_take(2) == pytest.approx(2 * 3 * found.seconds)


@pytest.mark.slow
def test_networks_that_do_not_fit_are_told_by_the_trial(pair, tmp_path, vkd):
    write_teacher(tmp_path)
    done = vkd("init", *flags_of(pair | {"teacher": "resnet18"}), cwd=tmp_path)
    assert done.returncode == 2
    assert "does not fit ResNet" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "recipe.yaml").exists()


def test_pictures_without_classes_get_a_recipe_of_embedding(pair, tmp_path):
    flat, classes = tmp_path / "flat", Path(pair["data_path"])
    flat.mkdir()
    for number, file in enumerate(sorted(classes.rglob("*.JPEG"))):
        shutil.copy(file, flat / f"{number}.jpg")
    written = vkd.init_recipe(
        **pair | {"data_path": flat}, output=tmp_path / "own.yaml", measure=False
    )
    assert written.config.task == "embedding"
    assert recipe(str(written.file)) == written.config
    text = " ".join(written.file.read_text().replace("#", "").split())
    # What classification says of the folder is the reason.
    assert "found: by the files; " in text
    assert "Nothing was measured" in text
    assert [kind.task for kind in kinds_of(str(classes))] == ["classification", "embedding"]


def test_a_file_of_python_is_named_in_the_command_too(pair, tmp_path):
    code = tmp_path / "own.py"
    code.write_text(
        "import timm\n\ndef small(**options):\n"
        "    return timm.create_model('test_vit', **options)\n"
    )
    student = f"{code}:small"
    written = vkd.init_recipe(
        **pair | {"student": student}, output=tmp_path / "own.yaml", measure=False
    )
    assert written.command.endswith(f"--student {student}")
    with pytest.raises(UserError, match="runs only where you name it"):
        recipe(str(written.file))


@pytest.mark.slow
def test_a_detection_set_gets_a_recipe_of_detection(coco, tmp_path):
    weights = tmp_path / "teacher.safetensors"
    from vkd.tensor_files import save_tensors

    save_tensors(vkd.create_model("vidt_digits_large").state_dict(), weights, {})
    written = vkd.init_recipe(
        coco, "vidt_digits_large", "vidt_digits", tmp_path / "own.yaml", epochs=1,
        teacher_checkpoint=weights,
    )  # fmt: skip
    config = written.config
    assert (config.task, config.dataset, config.batch_size) == ("detection", "coco", 2)
    assert (config.short_side, config.long_side) == (80, 96)
    assert written.trial.updates == 4  # of 9 pictures


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data_path": ""}, "--data-path is required where there is no terminal to ask at."),
        ({"student": ""}, "--student is required where there is no terminal to ask at."),
        ({"data_path": "absent"}, "--data-path: there is no absent."),
        ({"teacher": "resnet10x"}, "--teacher"),
        ({"student": "tst_vit"}, "--student"),
        ({"teacher_checkpoint": "absent.pth"}, "--teacher-checkpoint: There is no checkpoint"),
        ({"task": "detection"}, "--task detection has no recipe for data of the kind folder."),
        ({"task": "generation"}, "--task must be one of classification, detection"),
        ({"output": "recipe.txt"}, "--output must end in .yaml, found 'recipe.txt'."),
        ({"output": "there.yaml"}, "--output: there.yaml exists already; name a new file."),
        ({"epochs": "0"}, "--epochs must be at least 1, found 0."),
        ({"student_layer": "nrm"}, "--student-layer: nrm is no layer of test_vit"),
        ({"probe_path": "a"}, "--probe-path has no meaning for classification."),
    ],
)
def test_what_makes_no_recipe_is_refused_in_a_sentence(pair, tmp_path, vkd, changes, sentence):
    (tmp_path / "there.yaml").write_text("mine")
    done = vkd("init", *flags_of(pair | changes), "--measure", "false", cwd=tmp_path)
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert sentence in line
    assert len(line) <= 300
    assert [file.name for file in tmp_path.iterdir()] == ["there.yaml"]


def test_pictures_without_a_training_split_have_no_recipe(pair, tmp_path, vkd):
    write_folder(tmp_path / "data")
    (tmp_path / "data" / "train").rename(tmp_path / "other")
    done = vkd("init", *flags_of(pair | {"data_path": str(tmp_path / "data")}))
    assert done.returncode == 2
    assert "has no training split" in done.stderr


def test_a_machine_that_ends_the_trial_has_too_little_memory(pair, monkeypatch):
    import subprocess

    killed = subprocess.CompletedProcess([], -9)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: killed)
    config = recipe("digits")
    with pytest.raises(TooLargeError):
        try_out(config)
