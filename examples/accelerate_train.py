"""accelerate: `accelerate launch accelerate_train.py` trains with as many processes as you have."""

import tempfile

import timm
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, TensorDataset

import vkd

set_seed(0)
accelerator = Accelerator()
student = timm.create_model("resnet10t", num_classes=4)
teacher = timm.create_model("resnet14t", num_classes=4)  # pretrained=True in real life

# Images whose label is the brightest quarter.
labels = torch.arange(64) % 4
images = torch.rand(64, 3, 32, 32)
for image, label in zip(images, labels.tolist(), strict=True):
    image[:, 16 * (label // 2) :, 16 * (label % 2) :][:, :16, :16] += 1
loader = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True)

# The distiller is the module to prepare: student and projection. The teacher is not in it, so
# that it is neither wrapped nor saved; it follows the images to their device.
distiller = vkd.Distiller(student, teacher, "layer4", "layer4", example=images[:2])
optimizer = torch.optim.AdamW(distiller.parameters(), lr=2e-3)
distiller, optimizer, loader = accelerator.prepare(distiller, optimizer, loader)

history = []
for _ in range(4):
    for batch, targets in loader:
        logits, distillation_loss, _ = distiller(batch)
        loss = torch.nn.functional.cross_entropy(logits, targets) + distillation_loss
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        history.append(loss.item())

with tempfile.TemporaryDirectory() as folder:
    accelerator.save_state(folder)  # student, projection and optimiser, to resume from
    accelerator.load_state(folder)
    accelerator.wait_for_everyone()
deployed = accelerator.unwrap_model(distiller).student
accelerator.print(f"loss: {history[0]:.3f} -> {history[-1]:.3f}")
accelerator.print(f"deployed: {type(deployed).__name__}, {len(deployed.state_dict())} tensors")
