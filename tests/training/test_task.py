"""Tasks of several modules."""

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vkd.config import TrainingConfig
from vkd.training.accelerator import make_accelerator
from vkd.training.task import OptimizerStep, Task, TrainingModule
from vkd.training.trainer import Trainer


class Regression(TrainingModule):
    """A line."""

    def __init__(self, goal):
        super().__init__()
        self.student, self.goal = nn.Linear(2, 1), goal

    def losses(self, batch):
        return {f"loss_{self.goal}": (self.student(batch[0]) - self.goal).square().mean()}


class Twins(Task):
    """Two modules whose states have the same keys."""

    metric = "score"

    def __init__(self):
        self.steps = [OptimizerStep(Regression(goal)) for goal in (1.0, -1.0)]

    def cost(self):
        return {}

    def train_loader(self):
        return DataLoader(TensorDataset(torch.ones(8, 2)), 4)

    def validation_loader(self):
        return self.train_loader()

    def evaluate(self, predict, batches, accelerator):
        return {"score": predict(torch.ones(1, 2)).item()}

    def metadata(self):
        return {}

    def extra_tensors(self, states):
        return {f"state-{number}": state for number, state in enumerate(states)}


def test_states_of_two_modules_with_equal_keys_are_both_kept(tmp_path):
    config = TrainingConfig(task="twins", epochs=2, batch_size=4, lr=0.1, trackers="", device="cpu")
    task = Twins()
    score = Trainer(task, config, tmp_path, make_accelerator(config), show=False).fit()["score"]
    own = [step.module.state_dict() for step in task.steps]
    assert own[0].keys() == own[1].keys()
    assert not torch.equal(own[0]["student.weight"], own[1]["student.weight"])
    for number, state in enumerate(own):
        saved = load_file(tmp_path / f"state-{number}.safetensors")
        assert saved.keys() == state.keys()
        assert all(torch.equal(saved[key], state[key]) for key in state)
    model = load_file(tmp_path / "model.safetensors")
    assert torch.equal(model["weight"], own[0]["student.weight"])
    assert score == task.model(torch.ones(1, 2)).item()
