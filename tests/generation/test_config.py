"""The fields of generation."""

import pytest

from vkd.errors import UserError
from vkd.generation.config import GenerationConfig
from vkd.recipe import config_of, read_recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fraction": 0.0}, "fraction"),
        ({"extractor": "cnn_digits", "extractor_recipe": ""}, "extractor_checkpoint"),
        ({"samples": 10}, "samples"),
        ({"channels": 3}, "channels"),
        ({"beta1": 1.0}, "beta1"),
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
