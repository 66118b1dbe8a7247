"""Recipes, as YAML of any bytes."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fuzzing.mutations import damaged, files, mutated
from fuzzing.reading import answer_of, fuzzed
from vkd.recipe import RECIPES, config_of, read_recipe

RECIPE = yaml.safe_load((RECIPES / "digits.yaml").read_text())
TEXTS = [file.read_bytes() for file in sorted(RECIPES.glob("*.yaml"))]
ALIASES = "a: &a [1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
MARKS = [
    "&a ",
    "*a",
    "<<: *a",
    "!!python/object:os.system ",
    "? ",
    "- ",
    "|\n",
    "[",
    "{",
    "\t",
    "%",
]


def as_yaml(tree):
    try:
        return yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogatepass")
    except (yaml.YAMLError, RecursionError):
        return str(tree)[:500].encode(errors="replace")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("recipes") / "recipe.yaml"


@fuzzed(120)
@given(
    mutated(RECIPE).map(as_yaml)
    | files(*TEXTS)
    | st.tuples(st.sampled_from(TEXTS), st.sampled_from(MARKS)).flatmap(
        lambda pair: damaged(pair[0] + pair[1].encode())
    )
)
@example(ALIASES.encode())
@example(b"task: classification\nlr: .inf\n")
@example(b"task: classification\nmethod_options: " + b"{a: " * 500 + b"}" * 500)
def test_a_recipe_is_read_or_refused_in_a_sentence(file, content):
    file.write_bytes(content)
    answer_of(lambda: config_of(read_recipe(str(file))))
