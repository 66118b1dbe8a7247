"""A loop of your own: a small classifier of digits learns from a larger one."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import vkd

torch.manual_seed(0)
pixels, labels = (torch.tensor(part) for part in load_digits(return_X_y=True))
images = pixels.float().reshape(-1, 1, 8, 8) / 16
is_test = torch.rand(len(images)) < 0.5


def classifier(width: int) -> nn.Sequential:
    """Two convolutions, the mean over all places, a linear layer."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, width, 1), (width, 2 * width, 2)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))


def train(network, losses_of, epochs):
    """Train on the half that is not for testing; returns the sum of losses of each step."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, 15 * epochs)
    history = []
    for _ in range(epochs):
        for rows in torch.randperm(int((~is_test).sum())).split(64):
            loss = losses_of(images[~is_test][rows], labels[~is_test][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            history.append(loss.item())
    return history


def accuracy(network):
    """In % of the test images."""
    with torch.no_grad():
        found = network.eval()(images[is_test]).argmax(1)
    return 100 * (found == labels[is_test]).float().mean().item()


def distilled(images, labels):
    """Loss of the labels and of the features."""
    logits, distillation_loss, _ = distiller(images)
    return nn.functional.cross_entropy(logits, labels) + distillation_loss


teacher, student = classifier(32), classifier(8)
train(teacher, lambda x, y: nn.functional.cross_entropy(teacher(x), y), epochs=12)
example = images[:2]
with vkd.Distiller(student, teacher, "7", "7", example=example) as distiller:
    history = train(distiller, distilled, epochs=12)
print(f"loss: {history[0]:.3f} -> {history[-1]:.3f}")
print(f"teacher {accuracy(teacher):.1f} %, student {accuracy(student):.1f} %")
