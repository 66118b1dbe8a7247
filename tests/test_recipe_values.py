"""Recipes are read by the types of their fields."""

import pytest

from vkd.errors import UserError
from vkd.recipe import config_of, read_recipe


def config(folder, text):
    file = folder / "my.yaml"
    file.write_text(f"task: classification\n{text}\n")
    return config_of(read_recipe(str(file)))


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("lr: 1e-4", "lr", 1e-4),
        ('epochs: "3"', "epochs", 3),
        ("epochs: 3.0", "epochs", 3),
        ("compile: yes", "compile", True),
        ('compile: "off"', "compile", False),
        ("mixed_precision: no", "mixed_precision", "no"),
        ("student: 2024", "student", "2024"),
        ("teacher: ", "teacher", ""),
    ],
)
def test_the_field_decides_how_a_value_is_read(tmp_path, line, name, value):
    found = getattr(config(tmp_path, line), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lr: fast", "line 2: lr must be a number, found 'fast'"),
        ("lr: .inf", "line 2: lr must be a number"),
        ("lr:", "line 2: lr must be a number, found nothing"),
        ("epochs: 3.5", "line 2: epochs must be a whole number"),
        ("compile: maybe", "line 2: compile must be true or false"),
        ("student: [a]", "line 2: student must be a single value"),
        ("mixed_precision: fp61", "did you mean fp16"),
        ("lr: 1\nlr: 2", "line 3: lr stands twice, first in line 2"),
        ("3: 4", "line 2: a field's name must be a word, found 3"),
        ("a: " + "[" * 3000, "not valid YAML"),
        ("epoch: 3", "line 2: has an unknown field 'epoch'; did you mean epochs"),
    ],
)
def test_what_a_field_does_not_take_names_file_and_line(tmp_path, line, message):
    with pytest.raises(UserError, match=message) as found:
        config(tmp_path, line)
    assert "my.yaml" in str(found.value)
    assert len(str(found.value)) <= 300


def test_in_python_the_argument_is_named():
    with pytest.raises(UserError, match=r"^lr must be a number, found 'fast'"):
        config_of({"task": "classification", "lr": "fast"})
