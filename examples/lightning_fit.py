"""Lightning: a callback adds distillation to a module that knows nothing of it."""

import tempfile

import lightning
import timm
import torch
from torch.utils.data import DataLoader, TensorDataset

from vkd.integrations.lightning import DistillationCallback


class Classifier(lightning.LightningModule):
    """Any module of yours."""

    example_input_array = torch.zeros(2, 3, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.model = timm.create_model("resnet10t", num_classes=4)
        self.history: list[float] = []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        return torch.nn.functional.cross_entropy(self.model(images), labels)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.history.append(outputs["loss"].item())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


lightning.seed_everything(0, verbose=False)
labels = torch.arange(64) % 4  # the brightest quarter
images = torch.rand(64, 3, 32, 32)
for image, label in zip(images, labels.tolist(), strict=True):
    image[:, 16 * (label // 2) :, 16 * (label % 2) :][:, :16, :16] += 1
data = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True)

module = Classifier()
teacher = timm.create_model("resnet14t")  # pretrained=True in real life
distil = DistillationCallback(teacher, student_layer="layer4", teacher_layer="layer4")
trainer = lightning.Trainer(
    max_epochs=4, callbacks=[distil], accelerator="cpu", logger=False, enable_progress_bar=False,
    enable_model_summary=False, enable_checkpointing=False,
)  # fmt: skip
trainer.fit(module, data)

print(f"loss: {module.history[0]:.3f} -> {module.history[-1]:.3f}")
print(f"distillation: {trainer.callback_metrics['distillation_loss']:.3f} at the end")
with tempfile.NamedTemporaryFile(suffix=".ckpt") as file:
    trainer.save_checkpoint(file.name)
    Classifier.load_from_checkpoint(file.name)  # strictly, without projection or teacher
