"""A complete task from outside the package, in one file with one registration.

A line is fitted to points; the teacher is the true line, and the student learns its outputs.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import vkd
from vkd.config import TrainingConfig
from vkd.models.checkpoints import load_checkpoint
from vkd.models.cost import model_cost
from vkd.training.spec import TaskSpec
from vkd.training.task import OptimizerStep, Task, TrainingModule


@dataclass(kw_only=True)
class LineConfig(TrainingConfig):
    """Fields of the toy task.

    Attributes:
        slope: of the true line.
        points: to train on.
    """

    task: str = "line"
    slope: float = 3.0
    points: int = 64

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {"data": ("slope", "points")}


@dataclass(frozen=True, kw_only=True)
class LinePrediction:
    """Options of a prediction.

    Attributes:
        at: where to read the line.
    """

    at: float = 1.0


class LineModule(TrainingModule):
    """A line with its squared distance to points."""

    deployed = "line"

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)

    def losses(self, batch):
        x, y = batch
        return {"square": (self.line(x) - y).square().mean()}


class LineTask(Task):
    metric = "error"

    def __init__(self, config, objects=None):
        self.config = config
        self.steps = [OptimizerStep(LineModule())]

    def cost(self):
        return model_cost(self.model, torch.zeros(1, 1))

    def train_loader(self):
        return points(self.config, shuffle=True)

    def validation_loader(self):
        return points(self.config)

    def evaluate(self, predict, batches, accelerator):
        with torch.no_grad():
            errors = [(predict(x) - y).abs().mean() for x, y in batches]
        return {"error": float(torch.stack(errors).mean())}

    def metadata(self):
        return {}


def points(config, shuffle=False):
    x = torch.linspace(-1, 1, config.points)[:, None]
    return DataLoader(TensorDataset(x, config.slope * x), config.batch_size, shuffle=shuffle)


def load(checkpoint):
    return load_checkpoint(nn.Linear(1, 1), checkpoint).eval()


def evaluate(config, checkpoint, accelerator, options, objects):
    return LineTask(config).evaluate(load(checkpoint), points(config), accelerator)


def predict(config, checkpoint, inputs, options, objects):
    with torch.no_grad():
        return [{"at": options.at, "value": float(load(checkpoint)(torch.tensor([[options.at]])))}]


vkd.register_task(
    TaskSpec(
        name="line",
        config=LineConfig,
        task=LineTask,
        evaluate=evaluate,
        predict=predict,
        predict_options=LinePrediction,
    )
)
