"""Folders of comparisons that were made before."""

import json
from dataclasses import asdict

from bad_inputs.made import as_folder, every, nested, pipe, text
from bad_inputs.table import Case
from vkd.config import write_recipe
from vkd.recipe import recipe

RESULT = "old/teacher/result.json"
GOOD = {"validation": {"accuracy": 1.0}, "test": {"accuracy": 1.0}, "seconds": 1.0, "failure": ""}


def comparison(folder):
    (folder / "old").mkdir()
    config = recipe("digits", epochs=1, warmup_epochs=0, trackers="", device="cpu")
    write_recipe(config, folder / "old" / "recipe.yaml")


def case(name, change, *words):
    command = "compare digits --methods vkd,kd --seeds 1 --processes 1 --output old --epochs 1"
    command += " --warmup-epochs 0 --device cpu"
    return Case(name, command, words, make=every(comparison, change))


def results(name, content, *words):
    return case(f"results.json {name}", text("old/results.json", content), "results.json", *words)


def result(name, content, *words):
    content = content if isinstance(content, str | bytes) else json.dumps(content)
    return case(f"result.json {name}", text(RESULT, content), "result.json", *words)


def changed(**values):
    return {"recipe": asdict(recipe("digits-teacher"))} | GOOD | values


CASES = [
    results("empty", "", "damaged"),
    results("a list", "[]", "damaged"),
    results("binary", b"\xff", "UTF-8"),
    results("deep", nested(100_000), "damaged"),
    results("seconds a word", '{"seconds": "long"}', "'long'"),
    results("seconds infinite", '{"seconds": 1e999}', "inf"),
    result("empty", "", "damaged"),
    result("a list", "[]", "damaged"),
    result("binary", b"\xff", "UTF-8"),
    result("deep", nested(100_000), "damaged"),
    result("without recipe", GOOD, "recipe"),
    result("recipe a list", changed(recipe=[]), "no mapping"),
    case("result.json recipe without task", text(RESULT, json.dumps(changed(recipe={}))), "task"),
    result("test a list", changed(test=[]), "no mapping"),
    result("a metric a word", changed(test={"accuracy": "good"}), "'good'"),
    result("seconds a word", changed(seconds="long"), "'long'"),
    result("failure a number", changed(failure=5), "failure"),
    Case("a folder of something else", "compare digits --methods vkd,kd --output old",
         ("old", "no comparison"), make=text("old/x", "x")),
    Case("a file", "compare digits --methods vkd,kd --output old", ("old",), make=text("old", "x")),
    Case("a recipe that is a pipe", "compare digits --methods vkd,kd --output old", ("old",),
         make=every(as_folder("old"), pipe("old/recipe.yaml"))),
]  # fmt: skip
