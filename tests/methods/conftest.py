"""Signals to test methods with."""

import pytest
import torch

from vkd.methods.method import Signals


@pytest.fixture
def draw_signals():
    """Draw random signals that all want gradients."""

    def draw(rows=6, student_dim=4, teacher_dim=9, classes=5, samples=20, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, generator=generator).requires_grad_()

        return Signals(
            student_features=normal(rows, student_dim),
            teacher_features=normal(rows, teacher_dim),
            student_logits=normal(rows, classes),
            teacher_logits=normal(rows, classes),
            labels=torch.randint(classes, (rows,), generator=generator),
            indices=torch.randperm(samples, generator=generator)[:rows],
        )

    return draw
