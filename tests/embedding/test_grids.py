"""Grids of features: their layouts, and how grids of other sizes meet."""

import pytest
import torch
from torch.nn import functional as F

from vkd.embedding.grids import check_grids, grid_of, matched_rows


def test_every_layout_is_the_same_grid():
    grid = torch.randn(2, 6, 4, 4)
    tokens = torch.cat([torch.randn(2, 3, 6), grid.flatten(2).mT], 1)
    assert torch.equal(grid_of(grid), grid)
    assert torch.equal(grid_of(grid.movedim(1, 3)), grid)
    assert torch.equal(grid_of(tokens, prefix_tokens=3), grid)


@pytest.mark.parametrize(
    "features", [torch.randn(2, 6), torch.randn(2, 5, 6), torch.randn(2, 0, 6)]
)
def test_features_without_a_grid_are_refused(features):
    with pytest.raises(ValueError, match=r"no square grid|no places"):
        grid_of(features)


def test_places_of_equal_grids_meet():
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    ours, theirs = matched_rows(student, teacher)
    place = (1 * 4 + 2) * 4 + 3  # image 1, row 2, column 3
    assert torch.equal(ours[place], student[1, :, 2, 3])
    assert torch.equal(theirs[place], teacher[1, :, 2, 3])


@pytest.mark.parametrize("side", [2, 8])
def test_another_grid_is_resampled_to_the_students(side):
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 5, side, side)
    _, theirs = matched_rows(student, teacher)
    expected = F.interpolate(teacher, (4, 4), mode="bilinear", antialias=True)
    torch.testing.assert_close(theirs, expected.permute(0, 2, 3, 1).reshape(-1, 5))
    # A constant stays what it is.
    assert matched_rows(student, torch.ones(2, 5, side, side))[1].allclose(torch.ones(32, 5))


def test_grids_are_compared_by_proportions():
    square, wide = torch.zeros(1, 2, 7, 7), torch.zeros(1, 2, 7, 14)
    with pytest.raises(ValueError, match="grids of 7 x 7 and 7 x 14"):
        check_grids(square, wide, "a and b")
    assert "resampled" in check_grids(square, torch.zeros(1, 2, 16, 16), "a and b")
    assert check_grids(square, square, "a and b") == ""
