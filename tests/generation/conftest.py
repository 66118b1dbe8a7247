"""A small GAN's recipe."""

import pytest

from support.gan import small_gan


@pytest.fixture(scope="session")
def config(digits_teacher):
    teacher = {"teacher_checkpoint": str(digits_teacher)}
    return small_gan(**teacher, extractor_checkpoint=str(digits_teacher))
