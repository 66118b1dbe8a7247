"""Differentiable augmentation."""

import torch

from vkd.generation.augmentation import _cut_out, _translate, diff_augment


def test_augmentation_has_gradients_and_leaves_the_range_of_places():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 32, 32, requires_grad=True)
    diff_augment(images).sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad != 0).float().mean() > 0.3
    ramp = torch.arange(1.0, 1025).view(1, 1, 32, 32).expand(200, 1, 32, 32)
    moved = _translate(ramp)
    for image in moved:
        rows, columns = (image[0] > 0).any(1).sum(), (image[0] > 0).any(0).sum()
        assert rows >= 28
        assert columns >= 28
        # What is there was moved whole: neighbours differ as before.
        inner = image[0][4:-4, 4:-4]
        assert ((inner[:, 1:] - inner[:, :-1]) == 1).all()
    hidden = (_cut_out(torch.ones(500, 1, 32, 32)) == 0).float().mean((1, 2, 3))
    assert hidden.max() <= 0.25 + 1e-6
    assert hidden.min() >= 0.05
