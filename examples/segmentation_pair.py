"""Segmentation: dense features, compared place by place, of a small and a larger network."""

import torch
from torch import nn

import vkd


class Segmenter(nn.Module):
    """Convolutions down to a quarter of the size, and classes for each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (3, width):
            layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.head(self.body(images)), scale_factor=4)


def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise with a brighter square, and its pixels."""
    images, masks = torch.rand(count, 3, 32, 32), torch.zeros(count, 32, 32, dtype=torch.long)
    for image, mask in zip(images, masks, strict=True):
        top, left = torch.randint(20, (2,)).tolist()
        mask[top : top + 12, left : left + 12] = 1
        image += 0.5 * mask
    return images, masks


def train(network, losses_of, steps=60):
    optimizer, history = torch.optim.AdamW(network.parameters(), lr=5e-3), []
    for _ in range(steps):
        loss = losses_of(*batch(16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


torch.manual_seed(0)
teacher, student = Segmenter(48), Segmenter(6)
train(teacher, lambda images, masks: nn.functional.cross_entropy(teacher(images), masks))

# Both bodies give maps of 8x8; features of other grids need a pool function that resizes.
distiller = vkd.Distiller(student, teacher, "body", "body", pool="dense", example=batch(2)[0])


def distilled(images, masks):
    logits, distillation_loss, _ = distiller(images)
    return nn.functional.cross_entropy(logits, masks) + distillation_loss


history = train(distiller, distilled)
images, masks = batch(64)
print(f"loss: {history[0]:.3f} -> {history[-1]:.3f}")
for name, network in (("teacher", teacher), ("student", student)):
    right = network.eval()(images).argmax(1) == masks
    print(f"{name}: {100 * right.float().mean():.1f} % of pixels")
