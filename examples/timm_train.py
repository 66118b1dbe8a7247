"""timm: a loop as in timm's train.py, with a task of VkD in place of timm's own."""

import tempfile

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.task import resume_task_checkpoint
from timm.utils import AverageMeter, CheckpointSaver, random_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

# The line that changes; it was: from timm.task import FeatureDistillationTask
from vkd.integrations.timm import VkDTask as FeatureDistillationTask

random_seed(0)
labels = torch.arange(96) % 4  # the brightest quarter
images = torch.rand(96, 3, 32, 32)
for image, label in zip(images, labels.tolist(), strict=True):
    image[:, 16 * (label // 2) :, 16 * (label % 2) :][:, :16, :16] += 1
loader = DataLoader(TensorDataset(images[:64], labels[:64]), batch_size=16, shuffle=True)

student = timm.create_model("resnet10t", num_classes=4)
teacher = timm.create_model("resnet14t", num_classes=4)  # or its name, for published weights
task = FeatureDistillationTask(
    student_model=student, teacher_model=teacher, criterion=nn.CrossEntropyLoss(),
    distill_loss_weight=1.0, task_loss_weight=1.0,
)  # fmt: skip
optimizer = create_optimizer_v2(task.get_trainable_module(), opt="adamw", lr=2e-3)
scheduler, epochs = create_scheduler_v2(optimizer, sched="cosine", num_epochs=6)
task.setup_ema(decay=0.9)
history: list[float] = []

with tempfile.TemporaryDirectory() as folder:
    saver = CheckpointSaver(student, optimizer, task=task, checkpoint_dir=folder)
    for epoch in range(epochs):
        task.train()
        meters = {name: AverageMeter() for name in ("loss", "task_loss", "kd_loss")}
        for batch, target in loader:
            result = task(batch, target)
            optimizer.zero_grad()
            result["loss"].backward()
            optimizer.step()
            task.update_ema()
            for name, meter in meters.items():
                meter.update(result[name].item(), len(batch))
        scheduler.step(epoch + 1)
        task.eval()
        evaluator = task.create_evaluator()
        with torch.no_grad():
            evaluator.update(task.get_eval_model()(images[64:]), labels[64:])
        metrics = evaluator.compute()
        saver.save_checkpoint(epoch, metric=metrics["top1"])
        history.append(meters["loss"].avg)
    resume_task_checkpoint(task, f"{folder}/last.pth.tar", optimizer, log_info=False)

print(f"loss: {history[0]:.3f} -> {history[-1]:.3f}, top-1 {metrics['top1']:.1f} %")
