"""The same mistakes in a recipe give the same sentences, whichever command reads it."""

import os
import shutil

import pytest
from PIL import Image

from vkd.cli import main
from vkd.generation.config import GenerationConfig

TASK = "task: classification\nepochs: 1\nwarmup_epochs: 0\nstudent: cnn_digits\n"
FIRST = TASK.count("\n") + 1

# Read in every command: the line, and what the sentence says.
WRONG = [
    ("lr: fast", "lr must be a number, found 'fast'"),
    ("lr:", "lr must be a number, found nothing"),
    ("lr: -1", "lr must be at least 0, found -1"),
    ("lr: .inf", "lr must be a number, found '.inf'"),
    ("lr: 1e400", "lr must be a number, found '1e400'"),
    ("lr: 1e39", "lr must be at most"),
    ("flip: maybe", "flip must be true or false, found 'maybe'"),
    ("seed: -1", "seed must be from 0 to 4294967295, found -1"),
    ("seed: 18446744073709551616", "seed must be at most"),
    ("batch_size: 0", "batch_size must be at least 1, found 0"),
    ("batch_sise: 3", "has an unknown field 'batch_sise'; did you mean batch_size?"),
    ("lr: 1\nlr: 2", f"lr stands twice, first in line {FIRST}"),
    ("teacher: [a]", "teacher must be a single value"),
    ("projection: orthogonl", "did you mean orthogonal?"),
    ("tensorboard: maybe", "tensorboard must be true or false"),
]
RIGHT = 'lr: 1e-4\nbatch_size: "32"\nflip: yes\nmixed_precision: no'


def train(folder, recipe, teacher):
    return ["train", recipe, "--output", folder / "run"]


def cache(folder, recipe, teacher):
    wanted = ["--teacher", "cnn_digits", "--teacher-checkpoint", teacher]
    views = ["--feature-weight", "1", "--views", "1"]
    return ["cache", recipe, "--output", folder / "store", *wanted, *views]


def check(folder, recipe, teacher):
    return ["check", "--recipe", recipe]


def evaluate(folder, recipe, teacher):
    return ["eval", "--checkpoint", teacher, "--recipe", recipe]


def predict(folder, recipe, teacher):
    Image.new("L", (8, 8)).save(folder / "0.png")
    return ["predict", "--checkpoint", teacher, "--recipe", recipe, folder / "0.png"]


def teacher_recipe(folder, recipe, teacher):
    (folder / "outer.yaml").write_text(
        "task: classification\nepochs: 1\nwarmup_epochs: 0\nteacher: cnn_digits\n"
        f"feature_weight: 1\nteacher_recipe: {recipe}\n"
    )
    return ["train", folder / "outer.yaml", "--output", folder / "run"]


def resume(folder, recipe, teacher):
    shutil.copytree(teacher, folder / "run")
    shutil.copy(recipe, folder / "run" / "recipe.yaml")
    return ["train", "digits-teacher", "--resume", "--output", folder / "run"]


ROUTES = [train, cache, check, evaluate, predict, teacher_recipe, resume]


def run(route, folder, text, teacher, capsys):
    recipe = folder / "my.yaml"
    recipe.write_text(TASK + text + "\n")
    code = main([str(word) for word in route(folder, recipe, teacher)])
    return code, capsys.readouterr().err.strip().splitlines()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_line_is_named(route, text, message, tmp_path, digits_teacher, capsys):
    code, lines = run(route, tmp_path, text, digits_teacher, capsys)
    assert code == 2
    assert len(lines) == 1
    file = "recipe.yaml" if route is resume else "my.yaml"
    assert f"{file}, line {FIRST + text.count(chr(10))}: " in lines[0]
    assert message in lines[0]
    assert not (tmp_path / "store").exists()
    assert route is resume or not (tmp_path / "run").exists()


@pytest.mark.parametrize("route", [train, cache, check, evaluate, predict])
def test_numbers_and_truth_values_are_taken_as_they_are_written(
    route, tmp_path, digits_teacher, capsys
):
    code, lines = run(route, tmp_path, RIGHT, digits_teacher, capsys)
    assert code == 0, lines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"hello", "is no recipe"),
        (b"- 1\n", "is no recipe"),
        (bytes(range(256)), "is not valid YAML"),
        ("task: classification\n".encode("utf-16"), "no text in UTF-8"),
        (b"task: classification\na: " + b"[" * 5000, "nested too deep"),
        (b"task: classification\n\tlr: 1\n", "is not valid YAML in line 2"),
        (b"task: classification\n3: 4\n", "line 2: a field's name must be a word, found 3"),
        (b"task: classification\n2024-01-01: 4\n", "must be a word, found 2024-01-01"),
        (b"task: classification\n[1]: 4\n", "line 2: a field's name must be a word"),
        (b"task: {a: b}\n", "line 1: task must be one of"),
        (b"task: clasification\n", "did you mean classification?"),
        (b"lr: 1\n", "must have a field task"),
        (b"task: classification\nmethod_options: {a: 1, a: 2}\n", "a stands twice"),
        (b"task: classification\nmethod_options: &a {x: *a}\n", "my.yaml"),
        (b"task: classification\nlr: " + b"k" * 30_000, "lr must be a number"),
        (b"task: classification\n" + b"k" * 900 + b": 1\n", "line 2: has an unknown field"),
    ],
)
def test_what_is_no_recipe_is_one_sentence(tmp_path, capsys, content, message):
    (tmp_path / "my.yaml").write_bytes(content)
    assert main(["train", str(tmp_path / "my.yaml"), "--output", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert len(lines[0]) <= 300


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling"])
def test_what_is_no_file_is_named(tmp_path, capsys, kind):
    path = tmp_path / "my.yaml"
    {"folder": os.mkdir, "pipe": os.mkfifo, "dangling": lambda p: os.symlink("gone", p)}[kind](path)
    assert main(["train", str(path)]) == 2
    assert "my.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "a" * 5000, "a" * 5000 + ".yaml", "a\0.yaml", "../digits"])
def test_what_is_no_name_is_one_sentence(capsys, name):
    assert main(["train", name]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("vkd: There is no recipe")
    assert len(lines[0]) <= 300


@pytest.mark.parametrize("names", [["a"], ["a", "b"], ["a", "b", "c"]])
@pytest.mark.parametrize("command", ["train", "cache"])
def test_recipes_that_train_each_other_are_refused(tmp_path, capsys, names, command):
    for name, needed in zip(names, [*names[1:], names[0]], strict=True):
        (tmp_path / f"{name}.yaml").write_text(
            "task: classification\nstudent: cnn_digits\nteacher: cnn_digits\nfeature_weight: 1\n"
            f"teacher_recipe: {tmp_path}/./{needed}.yaml\n"
        )
    output = tmp_path / "out"
    assert main([command, str(tmp_path / "a.yaml"), "--output", str(output)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "teacher_recipe" in lines[0]
    assert "trains itself" in lines[0]
    assert not output.exists()


def test_a_recipe_that_trains_another_model_is_refused_at_once(tmp_path, capsys):
    arguments = ["--teacher-recipe", "gan-digits", "--output", str(tmp_path / "run")]
    assert main(["train", "digits", *arguments]) == 2
    assert "gan-digits trains biggan, but the teacher is cnn_digits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", "-1"], "--seed must be from 0 to 4294967295, found -1."),
        (["--seed", "4294967296"], "--seed must be from 0 to"),
        (["--lr", "1e400"], "--lr must be a number"),
        (["--epochs", "9" * 30], "--epochs must be at most"),
        (["--crop-padding", "8"], "--crop-padding must be below the 8 pixels"),
        (["--student", ""], "--student must be a model's name, found nothing."),
        (["--student", "a" * 5000], "--student: there is no model"),
        (["--student", "vit_base_patch16_224"], "does not take images of 1 x 8 x 8"),
        (["--student", "vidt_digits"], "vidt_digits cannot be built"),
        (["--student", "biggan"], "biggan does not take images"),
        (["--tensorboard", "maybe"], "--tensorboard must be true or false"),
        (["stray"], "does not take the word stray."),
    ],
)
def test_a_flag_is_named_where_it_gave_the_value(tmp_path, capsys, flags, message):
    """Also where a recipe's file has the field, which the flag overrides."""
    recipe = tmp_path / "my.yaml"
    recipe.write_text(TASK + "lr: 1\nseed: 1\ncrop_padding: 1\n")
    assert main(["train", str(recipe), "--output", str(tmp_path / "run"), *flags]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert len(lines[0]) <= 300


def test_more_memory_than_there_is_is_one_sentence(vkd, digits_teacher, tmp_path, monkeypatch):
    monkeypatch.setitem(GenerationConfig.MOST, "channels", 10**10)
    networks = ["--teacher-checkpoint", digits_teacher, "--extractor-checkpoint", digits_teacher]
    big = ["--channels", str(10**10), *networks]
    done = vkd("train", "gan-digits", *big, "--output", tmp_path / "run")
    assert done.returncode == 2
    assert "channels 10000000000" in done.stderr
    assert done.stderr.count("\n") == 1
