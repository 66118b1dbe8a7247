"""transformers: a Trainer that distils a small vision transformer from a larger one."""

import tempfile

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

from vkd.integrations.transformers import DistillationTrainer


class Colours(Dataset):
    """Noise with more red, green, blue or nothing, which is the label."""

    def __init__(self, count: int) -> None:
        colours = torch.eye(4, 3)[torch.arange(count) % 4]
        self.images = torch.rand(count, 3, 32, 32) + colours[:, :, None, None]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"pixel_values": self.images[index], "labels": index % 4}


def vit(width: int, depth: int) -> ViTForImageClassification:
    """from_pretrained(...) in real life."""
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=depth, num_attention_heads=4, num_labels=4,
    )  # fmt: skip
    return ViTForImageClassification(config)


set_seed(0)
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder, num_train_epochs=6, per_device_train_batch_size=16, learning_rate=2e-3,
        logging_steps=4, report_to=[], disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    teacher = vit(width=64, depth=2)  # from_pretrained(...) in real life
    Trainer(teacher, arguments, train_dataset=Colours(64)).train()
    trainer = DistillationTrainer(
        vit(width=32, depth=1),
        arguments,
        train_dataset=Colours(64),
        teacher=teacher,
        student_layer="vit.layernorm",
        teacher_layer="vit.layernorm",
    )
    trainer.train()
    trainer.save_model(folder)  # the student alone, as from_pretrained reads it
    ViTForImageClassification.from_pretrained(folder)

history = [logged for logged in trainer.state.log_history if "distillation_loss" in logged]
for name in ("loss", "distillation_loss"):
    print(f"{name}: {history[0][name]:.3f} -> {history[-1][name]:.3f}")
