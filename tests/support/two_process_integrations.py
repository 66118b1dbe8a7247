"""Trains a step or two in timm's, transformers' and Lightning's way, each in two processes that
have half of every batch, and compares with whole batches in one. Prints what was compared."""

import copy
import sys

import lightning
import timm
import torch
import transformers
from torch import distributed, nn
from torch.utils.data import DataLoader, TensorDataset

import vkd
from vkd.integrations.lightning import DistillationCallback
from vkd.integrations.timm import VkDTask
from vkd.integrations.transformers import DistillationTrainer

IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4
RATE = 0.1
CLOSE = {"rtol": 1e-3, "atol": 1e-5}


def step(parameters, loss):
    """One step of gradient descent."""
    parameters = [part for part in parameters if part.requires_grad]
    for part, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        part.data -= RATE * gradient


def with_timm(rank):
    def vit(width):
        torch.manual_seed(width)
        shape = {"img_size": 16, "patch_size": 8, "embed_dim": width, "depth": 1, "num_heads": 2}
        return timm.create_model("vit_tiny_patch16_224", num_classes=4, **shape)

    torch.manual_seed(0)
    alone = VkDTask(vit(8), vit(12), criterion=nn.CrossEntropyLoss(), verbose=False).train()
    shared = copy.deepcopy(alone)
    shared.prepare_distributed()
    half = slice(rank, None, 2)
    optimizer = torch.optim.SGD(shared.get_trainable_module().parameters(), RATE)
    for _ in range(2):
        step(alone.trainable_module.parameters(), alone(IMAGES, LABELS)["loss"])
        optimizer.zero_grad()
        shared(IMAGES[half], LABELS[half])["loss"].backward()
        optimizer.step()
    found, expected = shared.trainable_module.module.state_dict(), alone.trainable_module
    torch.testing.assert_close(found, expected.state_dict(), **CLOSE)


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return {"pixel_values": IMAGES[index], "labels": LABELS[index]}


def with_transformers(folder):
    def vit(width):
        torch.manual_seed(width)
        config = transformers.ViTConfig(
            hidden_size=width, intermediate_size=16, image_size=16, patch_size=8, num_labels=4,
            num_hidden_layers=1, num_attention_heads=2, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        return transformers.ViTForImageClassification(config)

    arguments = transformers.TrainingArguments(
        folder, max_steps=1, per_device_train_batch_size=4, learning_rate=RATE, use_cpu=True,
        lr_scheduler_type="constant", max_grad_norm=0.0, optim="sgd", report_to=[],
        disable_tqdm=True, save_strategy="no", ddp_backend="gloo",
    )  # fmt: skip
    layers = {"student_layer": "vit.layernorm", "teacher_layer": "vit.layernorm"}
    torch.manual_seed(0)
    trainer = DistillationTrainer(
        vit(8), arguments, train_dataset=Pictures(), teacher=vit(12), **layers
    )
    alone = vkd.Distiller(vit(8), vit(12), **layers, example=IMAGES[:2])
    alone.loss.load_state_dict(trainer.distiller.loss.state_dict())
    trainer.train()
    output, distillation, _ = alone(IMAGES)
    label_loss = nn.functional.cross_entropy(output.logits, LABELS)
    used = [p for n, p in alone.named_parameters() if "pooler" not in n]
    step(used, label_loss + distillation)
    torch.testing.assert_close(trainer.distiller.state_dict(), alone.state_dict(), **CLOSE)


def network(seed, width):
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(3, width, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(body, nn.Linear(width, 4))


class Module(lightning.LightningModule):
    example_input_array = IMAGES[:2]

    def __init__(self):
        super().__init__()
        self.model = network(0, 6)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.model.parameters(), RATE)


def with_lightning(folder):
    distil = DistillationCallback(network(1, 10), student_layer="0", teacher_layer="0")
    module, student, teacher = Module(), network(0, 6), network(1, 10)
    torch.manual_seed(3)
    alone = vkd.Distiller(student, teacher, "0", "0", example=IMAGES[:2])
    trainer = lightning.Trainer(
        default_root_dir=folder, max_epochs=2, callbacks=[distil], strategy="ddp", devices=2,
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    torch.manual_seed(3)
    trainer.fit(module, DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4))
    for _ in range(2):
        logits, distillation, _ = alone(IMAGES)
        step(alone.parameters(), nn.functional.cross_entropy(logits, LABELS) + distillation)
    torch.testing.assert_close(module.model.state_dict(), alone.student.state_dict(), **CLOSE)
    torch.testing.assert_close(dict(distil.state_dict()), dict(alone.loss.state_dict()), **CLOSE)


if __name__ == "__main__":
    folder = sys.argv[1]
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    with_timm(rank)
    with_transformers(folder)
    with_lightning(folder)
    if rank == 0:
        print("equal: timm, transformers, lightning")
