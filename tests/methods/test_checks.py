"""Checks of options at their bounds."""

import pytest
import torch

from vkd.errors import UserError
from vkd.methods.checks import (
    check_at_least,
    check_choice,
    check_count,
    check_dims,
    check_positive,
    full_precision,
)

NO_NUMBERS = [True, "1", None, float("nan"), float("inf"), [1]]


@pytest.mark.parametrize("value", [-1, 0.999, *NO_NUMBERS])
def test_at_least_takes_the_bound_and_refuses_what_is_below(value):
    check_at_least("beta", 1, 1)
    check_at_least("beta", 1.5, 1)
    with pytest.raises(UserError) as error:
        check_at_least("beta", value, 1)
    assert str(error.value) == f"beta must be a number of at least 1, found {value!r}."


@pytest.mark.parametrize("value", [0, -0.5, *NO_NUMBERS])
def test_positive_refuses_its_bound(value):
    check_positive("tau", 1e-9)
    with pytest.raises(UserError) as error:
        check_positive("tau", value)
    assert str(error.value) == f"tau must be a number above 0, found {value!r}."


@pytest.mark.parametrize("value", [0, -3, 1.0, 2.5, *NO_NUMBERS])
def test_counts_are_whole_and_at_least_one(value):
    check_count("negatives", 1)
    with pytest.raises(UserError) as error:
        check_count("negatives", value)
    assert str(error.value) == f"negatives must be a whole number of at least 1, found {value!r}."


def test_both_numbers_of_features_are_checked():
    check_dims(1, 1)
    with pytest.raises(UserError, match=r"^student_dim must .* found 0"):
        check_dims(0, 1)
    with pytest.raises(UserError, match=r"^teacher_dim must .* found 0"):
        check_dims(1, 0)


def test_choices_are_names_that_are_known_or_functions():
    check_choice("distance", "l1", {"l1": 1, "mse": 2})
    check_choice("distance", abs, {"l1": 1, "mse": 2})
    with pytest.raises(UserError) as error:
        check_choice("distance", "mze", {"l1": 1, "mse": 2})
    assert str(error.value).startswith("distance must be one of l1, mse, found 'mze'; did you mean")


def test_full_precision_switches_autocast_off_and_on_again():
    features = torch.randn(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(features):
            assert (features @ features).dtype == torch.float32
        assert (features @ features).dtype == torch.bfloat16
