"""Models by name, and the weights they are built for."""

import pytest

from vkd.models import create_model, last_layer


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet10t", "layer4"), ("regnety_002", "final_conv"), ("deit_tiny_patch16_224", "norm"),
     ("convnext_atto", "stages.3"), ("cnn_digits", "features")],
)  # fmt: skip
def test_the_last_layer_of_a_teacher_is_found(name, layer):
    assert last_layer(create_model(name)) == layer
