"""The callback with the real Lightning."""

import copy
import logging
import warnings

import pytest
import timm
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import vkd

pytest.importorskip("lightning")

import lightning

from vkd.integrations.lightning import DistillationCallback

IMAGES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 5


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def network(seed, width):
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, nn.Linear(width, 5))


class Module(lightning.LightningModule):
    """A classifier that knows nothing of distillation."""

    example_input_array = torch.zeros(2, 3, 8, 8)

    def __init__(self, whole=True, as_dict=False):
        super().__init__()
        self.model = network(1, 6)
        self.whole, self.as_dict = whole, as_dict

    def training_step(self, batch, batch_idx):
        images, labels = batch
        loss = nn.functional.cross_entropy(self.model(images), labels)
        self.log("label_loss", loss)
        return {"loss": loss, "more": 1} if self.as_dict else loss

    def validation_step(self, batch, batch_idx):
        self.log("validation", nn.functional.cross_entropy(self.model(batch[0]), batch[1]))

    def configure_optimizers(self):
        parameters = self.parameters() if self.whole else self.model.parameters()
        optimizer = torch.optim.AdamW(parameters, lr=1e-2)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def callback(**options):
    torch.manual_seed(2)
    layers = {"student_layer": "0", "teacher_layer": "0"}
    return DistillationCallback(network(3, 10), **(layers | options))


def trainer_of(folder, *callbacks, epochs=2, **options):
    return lightning.Trainer(
        default_root_dir=folder, max_epochs=epochs, callbacks=list(callbacks), logger=False,
        accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


def data():
    return DataLoader(TensorDataset(IMAGES, LABELS), batch_size=8)


def by_hand(distil, epochs=2):
    """Student and projection after the same training with a Distiller in a plain loop."""
    module, teacher = Module(), copy.deepcopy(distil.teacher)
    torch.manual_seed(7)  # as where the callback is used
    distiller = vkd.Distiller(module.model, teacher, "0", "0", example=module.example_input_array)
    optimizer = torch.optim.AdamW(distiller.parameters(), lr=1e-2)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 1e-2 * 0.5**epoch
        for images, labels in data():
            logits, distillation, _ = distiller(images)
            loss = nn.functional.cross_entropy(logits, labels) + 3 * distillation
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module.state_dict(), distiller.loss.state_dict()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("as_dict", [True, False])
def test_training_equals_a_distiller_in_a_plain_loop(tmp_path, whole, as_dict):
    distil, module = callback(weight=3.0), Module(whole, as_dict)
    trainer = trainer_of(tmp_path, distil)
    torch.manual_seed(7)
    trainer.fit(module, data(), data())
    student, projection = by_hand(distil)
    torch.testing.assert_close(module.state_dict(), student)
    torch.testing.assert_close(dict(distil.state_dict()), dict(projection))
    assert trainer.callback_metrics["distillation_loss"] > 0


def test_a_compiled_module_trains_alike(tmp_path):
    distil, module = callback(weight=3.0), Module()
    torch.manual_seed(7)
    trainer_of(tmp_path, distil).fit(torch.compile(module, backend="eager"), data(), data())
    student, projection = by_hand(distil)
    torch.testing.assert_close(module.state_dict(), student)
    torch.testing.assert_close(dict(distil.state_dict()), dict(projection))


def test_afterwards_the_module_is_as_it_was(tmp_path):
    distil, module = callback(), Module()
    names = [name for name, _ in module.named_modules()]
    trainer_of(tmp_path, distil).fit(module, data())
    assert [name for name, _ in module.named_modules()] == names
    assert "training_step" not in vars(module)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert not distil.teacher.training
    trainer_of(tmp_path, distil, epochs=1).fit(module, data())  # and once more


def test_the_checkpoint_is_the_modules_and_resumes(tmp_path):
    full, distil = Module(False), callback()
    torch.manual_seed(7)
    trainer_of(tmp_path / "full", distil, epochs=4).fit(full, data())

    first, second, file = Module(False), Module(False), tmp_path / "half.ckpt"
    half = callback()
    torch.manual_seed(7)
    trainer = trainer_of(tmp_path / "half", half)
    trainer.fit(first, data())
    trainer.save_checkpoint(file)
    saved = torch.load(file, weights_only=True)
    assert saved["state_dict"].keys() == Module().state_dict().keys()
    assert saved["callbacks"]["DistillationCallback"].keys() == {"projection.parameter"}
    Module.load_from_checkpoint(file)  # strictly, without the callback

    resumed = callback()
    torch.manual_seed(99)  # another projection, but for the checkpoint
    trainer_of(tmp_path / "on", resumed, epochs=4).fit(second, data(), ckpt_path=file)
    torch.testing.assert_close(second.state_dict(), full.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(resumed.state_dict(), distil.state_dict(), rtol=0, atol=0)


def test_accumulated_batches_weigh_as_one(tmp_path):
    results = []
    for size, steps in ((16, 1), (8, 2)):
        module = Module()
        torch.manual_seed(7)
        trainer_of(tmp_path, callback(), accumulate_grad_batches=steps).fit(
            module, DataLoader(TensorDataset(IMAGES, LABELS), batch_size=size)
        )
        results.append(module.state_dict())
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)


def test_a_step_that_fails_leaves_the_module_as_it_was(tmp_path):
    module, distil = Module(), callback()
    broken = DataLoader(TensorDataset(IMAGES[:, :2], LABELS), batch_size=8)
    with pytest.raises(RuntimeError, match="channels"):
        trainer_of(tmp_path, distil).fit(module, broken)
    assert "training_step" not in vars(module)
    assert not hasattr(module, "distillation_losses")


class Manual(Module):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class Elsewhere(Module):
    def __init__(self):
        super().__init__()
        self.other = network(1, 6)


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Module, {"student": "modle"}, "submodule of Module, found 'modle'.*: model"),
        (Module, {"student_layer": "layr"}, "no layer 'layr'"),
        (Module, {"teacher_layer": "layr"}, "no layer 'layr'"),
        (Manual, {}, "Manual optimises by hand"),
        (Elsewhere, {"student": "other"}, "did not call its student 'other'"),
    ],
)  # fmt: skip
def test_wrong_use_is_told_in_a_sentence(tmp_path, module, options, message):
    with pytest.raises(ValueError, match=message) as error:
        trainer_of(tmp_path, callback(**options)).fit(module(), data())
    assert len(str(error.value)) < 300


def test_arguments_are_checked_at_once():
    with pytest.raises(TypeError, match="no argument 'student_layr'"):
        callback(student_layr="0")
    with pytest.raises(ValueError, match="weight must be 0 or above, found -1"):
        callback(weight=-1)


def test_a_timm_model_needs_no_example(tmp_path):
    module = Module()
    module.example_input_array = None
    module.model = timm.create_model("resnet10t", num_classes=5)
    distil = callback(student_layer="layer4", teacher_layer="0")
    trainer_of(tmp_path, distil, epochs=1).fit(module, data())
    assert distil.state_dict()["projection.parameter"].shape == (10, 512)
