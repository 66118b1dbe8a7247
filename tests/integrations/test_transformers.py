"""The trainer with the real transformers, on small vision transformers and text models."""

import json
from dataclasses import fields

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset

import vkd

pytest.importorskip("transformers")

import transformers

from vkd.integrations.transformers import DistillationTrainer

SHAPE = {
    "image_size": 16, "patch_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": 4,
}  # fmt: skip


def vit(width, seed=0):
    torch.manual_seed(seed)
    config = transformers.ViTConfig(hidden_size=width, intermediate_size=2 * width, **SHAPE)
    return transformers.ViTForImageClassification(config)


class Pictures(Dataset):
    def __init__(self, labels=True, count=16):
        self.images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        self.labels = labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        item = {"pixel_values": self.images[index]}
        return item | ({"labels": index % 4} if self.labels else {})


def trainer_of(folder, model=None, data=None, **options):
    names = {field.name for field in fields(transformers.TrainingArguments)}
    given = {name: options.pop(name) for name in names & options.keys()}
    defaults = {
        "output_dir": str(folder), "max_steps": 4, "per_device_train_batch_size": 8,
        "learning_rate": 1e-2, "lr_scheduler_type": "constant", "report_to": [], "use_cpu": True,
        "disable_tqdm": True, "logging_steps": 1, "save_steps": 2, "max_grad_norm": 0.0,
        "optim": "sgd",
    }  # fmt: skip
    args = transformers.TrainingArguments(**(defaults | given))
    layers = {"student_layer": "vit.layernorm", "teacher_layer": "vit.layernorm"}
    if "layers" in options:
        layers = {}
    torch.manual_seed(5)
    return DistillationTrainer(
        vit(8) if model is None else model,
        args,
        train_dataset=Pictures() if data is None else data,
        **({"teacher": vit(12, seed=1)} | layers | options),
    )


def test_the_loss_is_the_labels_and_the_distillers(tmp_path):
    trainer = trainer_of(tmp_path, weight=3.0, max_steps=1)
    student, teacher = vit(8), vit(12, seed=1)
    distiller = vkd.Distiller(
        student, teacher, "vit.layernorm", "vit.layernorm", example=torch.zeros(2, 3, 16, 16)
    )
    distiller.loss.load_state_dict(trainer.distiller.loss.state_dict())
    seen = []
    trainer.train_dataset.images = Pictures().images[:8]  # one batch, whatever its order
    trainer.train()
    batch = [trainer.train_dataset[index] for index in range(8)]
    images = torch.stack([item["pixel_values"] for item in batch])
    labels = torch.tensor([item["labels"] for item in batch])
    output, distillation, _ = distiller(images)
    label_loss = torch.nn.functional.cross_entropy(output.logits, labels)
    (label_loss + 3.0 * distillation).backward()
    logged = trainer.state.log_history[0]
    assert logged["loss"] == pytest.approx((label_loss + 3 * distillation).item(), rel=1e-4)
    assert logged["distillation_loss"] == pytest.approx(distillation.item(), rel=1e-4)
    for (name, ours), theirs in zip(
        trainer.model.named_parameters(), student.parameters(), strict=True
    ):
        expected = theirs.detach() - 1e-2 * theirs.grad
        torch.testing.assert_close(ours.detach(), expected, msg=name, rtol=1e-3, atol=1e-5)
        seen.append(name)
    assert seen
    ours, theirs = trainer.distiller.loss.projection.parameter, distiller.loss.projection.parameter
    torch.testing.assert_close(ours, theirs - 1e-2 * theirs.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("label_smoothing_factor", [0.0, 0.1])
def test_accumulated_batches_weigh_as_one(tmp_path, label_smoothing_factor):
    models = []
    for size, steps in ((16, 1), (8, 2)):
        trainer = trainer_of(
            tmp_path, per_device_train_batch_size=size, gradient_accumulation_steps=steps,
            max_steps=1, label_smoothing_factor=label_smoothing_factor,
        )  # fmt: skip
        trainer.train()
        models.append(
            trainer.model.state_dict() | {"projection": trainer.distiller.loss.projection.parameter}
        )
    torch.testing.assert_close(*models, rtol=1e-3, atol=1e-5)


def test_checkpoints_are_the_models_own_and_resume(tmp_path):
    whole = trainer_of(tmp_path / "a")
    whole.train()
    half = tmp_path / "a" / "checkpoint-2"
    vit(8).save_pretrained(tmp_path / "alone")
    own = load_file(tmp_path / "alone" / "model.safetensors").keys()
    assert load_file(half / "model.safetensors").keys() == own
    assert load_file(half / "distillation.safetensors").keys() == {"projection.parameter"}
    loaded, told = transformers.ViTForImageClassification.from_pretrained(
        half, output_loading_info=True
    )
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.config.hidden_size == 8

    torch.manual_seed(99)
    again = trainer_of(tmp_path / "b", vit(8, seed=9))
    again.train(resume_from_checkpoint=str(half))
    for part in (lambda t: t.model, lambda t: t.distiller.loss):
        torch.testing.assert_close(
            dict(part(again).state_dict()), dict(part(whole).state_dict()), rtol=0, atol=0
        )
    again.save_model(str(tmp_path / "deployed"))
    assert load_file(tmp_path / "deployed" / "model.safetensors").keys() == own
    assert not (tmp_path / "deployed" / "distillation.safetensors").exists()
    (half / "distillation.safetensors").unlink()
    with pytest.raises(RuntimeError, match="not written by a DistillationTrainer"):
        again.train(resume_from_checkpoint=str(half))


def test_the_best_model_is_loaded_whole(tmp_path):
    trainer = trainer_of(
        tmp_path, eval_dataset=Pictures(), load_best_model_at_end=True, eval_strategy="steps",
        eval_steps=2, learning_rate=100.0,
    )  # fmt: skip
    trainer.train()
    best = transformers.ViTForImageClassification.from_pretrained(tmp_path / "checkpoint-2")
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    torch.testing.assert_close(trainer.model.state_dict(), best.state_dict(), rtol=0, atol=0)


def test_afterwards_the_model_is_as_it_was(tmp_path):
    model = vit(8)
    names = [name for name, _ in model.named_modules()]
    trainer = trainer_of(tmp_path, model, max_steps=1)
    trainer.train()
    assert [name for name, _ in model.named_modules()] == names
    trainer.distiller.close()
    assert not any(part._forward_hooks for part in model.modules())
    assert all(not p.requires_grad for p in trainer.distiller.teacher.model.parameters())


@pytest.mark.parametrize(
    "how",
    [
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"gradient_checkpointing": True},
    ],
)
def test_compiled_or_checkpointed_it_trains_alike(tmp_path, how):
    plain, other = trainer_of(tmp_path, max_steps=2), trainer_of(tmp_path, max_steps=2, **how)
    plain.train()
    other.train()
    ours, theirs = plain.distiller.state_dict(), other.distiller.state_dict()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_projections_are_not_decayed(tmp_path):
    trainer = trainer_of(tmp_path, max_steps=1, weight_decay=0.1)
    trainer.train()
    groups = trainer.optimizer.param_groups
    parameter = trainer.distiller.loss.projection.parameter
    [group] = [g for g in groups if any(p is parameter for p in g["params"])]
    assert group["weight_decay"] == 0


def test_labels_are_not_needed_and_evaluation_is_the_trainers(tmp_path):
    trainer = trainer_of(tmp_path, data=Pictures(labels=False), max_steps=8)
    trainer.train()
    losses = [logged["loss"] for logged in trainer.state.log_history if "loss" in logged]
    assert losses[-1] < losses[0]
    backbone = trainer_of(
        tmp_path, vit(8).vit, Pictures(labels=False), student_layer="layernorm", max_steps=1
    )
    backbone.train()
    assert "loss" in backbone.state.log_history[0]
    found = trainer_of(tmp_path).evaluate(Pictures())
    model, data = vit(8).eval(), Pictures()
    with torch.no_grad():
        expected = model(data.images, labels=torch.arange(16) % 4).loss
    assert found["eval_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_a_teacher_of_timm_and_several_layers(tmp_path):
    teacher = timm.create_model("resnet10t", num_classes=0)
    layers = {"vit.layers.0": "layer1", "vit.layernorm": "layer4"}
    trainer = trainer_of(tmp_path, teacher=teacher, layers=layers, max_steps=1)
    trainer.train()
    assert json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())
    assert len(load_file(tmp_path / "checkpoint-1" / "distillation.safetensors")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student_layer": "layr"}, "no layer 'layr'"),
        ({"teacher_layer": "layr"}, "no layer 'layr'"),
        ({"weight": -1.0}, "weight must be 0 or above, found -1"),
        ({"data": iter(())}, "example must be given"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as error:
        trainer_of(tmp_path, **options)
    assert len(str(error.value)) < 300
