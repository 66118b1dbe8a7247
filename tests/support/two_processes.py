"""What two processes do together, once for all tests; run by torchrun with a folder and a teacher.

Each part leaves files in the folder, which a test compares with one process's.
"""

import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import vkd
from support import spoilt
from support.gan import small_gan
from vkd.api.cache import cache
from vkd.api.train import end_processes, train
from vkd.classification.task import ClassificationTask
from vkd.errors import RunError, UserError
from vkd.methods.crd import CRD
from vkd.methods.method import Signals, Sizes
from vkd.precision import AS_AROUND, FLOAT32, Precision
from vkd.recipe import recipe
from vkd.store import fitting
from vkd.store.description import StoreDescription
from vkd.training import precision, trainer
from vkd.training.accelerator import make_accelerator
from vkd.training.processes import leave_equal_buffers, share_buffers


@register_model
def plain_vit(pretrained=False, **kwargs):
    """No BatchNorm, whose statistics are those of a process's own images."""
    return VisionTransformer(8, 2, 1, 10, embed_dim=32, depth=2, num_heads=2, class_token=False,
                             global_pool="avg", fc_norm=False)  # fmt: skip


def even_training(teacher, batch_size, accumulation=1):
    """A recipe whose updates do not depend on how their 64 images are spread.

    Stochastic gradient descent, as Adam turns rounding noise on vanishing gradients into whole
    steps.
    """
    return recipe(
        "digits", student="plain_vit", teacher_checkpoint=str(teacher), batch_size=batch_size,
        accumulation=accumulation, logit_weight=1.0, epochs=20, warmup_epochs=0, optimizer="sgd",
        lr=0.05, lr_reference_batch=64, train_fraction=64 / 718, device="cpu", trackers="",
        checkpoint_every=20,
    )  # fmt: skip


def stored(teacher):
    """A recipe whose teacher's outputs are stored, with 100 rows a file."""
    fitting.StoreDescription = partial(StoreDescription, rows_per_file=100)
    return recipe("digits", teacher_checkpoint=str(teacher), device="cpu", crop_padding=1)


def mixed_store(teacher, folder):
    """A recipe with the store ``folder`` of mixed pairs, whose epochs have five batches."""
    return recipe(
        "digits", teacher_checkpoint=str(teacher), device="cpu", crop_padding=1, batch_size=42,
        mixup=0.8, cutmix=1.0, mixup_mode="pair", train_fraction=0.3, teacher_store=str(folder),
    )  # fmt: skip


def mixed(folder, teacher, rank):
    """Fill a store of mixed images together, and keep what each process sees of its epochs."""
    config = mixed_store(teacher, folder / "mixed-store")
    cache(config, folder / "mixed-store", views=2, show=False)
    accelerator = make_accelerator(config)
    batches = accelerator.prepare(ClassificationTask(config).train_loader())
    for epoch in (0, 1):
        batches.set_epoch(epoch)
        seen = [[*part[:3], part[3].mixing, *part[3].rows.values()] for part in batches]
        torch.save(seen, folder / f"mixed-{epoch}-{rank}.pt")


def make_distiller():
    """A student and a teacher of a few numbers."""
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    teacher = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3))
    return vkd.Distiller(student, teacher, "1", "1", example=torch.zeros(2, 6))


def fit(module, batches):
    """Train it."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    for images in batches:
        out = module(images)
        loss = out.loss + out.output.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def distiller_batches():
    """Ten batches of eight."""
    return torch.randn(10, 8, 6, generator=torch.Generator().manual_seed(1))


def statistics(folder, rank):
    """Normalise a batch of which each process has a part."""
    whole = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1
    mine = (whole[:3] if rank == 0 else whole[3:]).clone().requires_grad_()
    found = vkd.standardize(mine, across_processes=True)
    (found**3).sum().backward()
    white = vkd.whiten(mine.detach(), across_processes=True)
    torch.save([found.detach(), mine.grad, white], folder / f"statistics-{rank}.pt")


def distillers(folder, rank):
    """Train a Distiller, plain and compiled, on half of each batch."""
    for name, compiled in (("plain", False), ("compiled", True)):
        together = nn.parallel.DistributedDataParallel(make_distiller())
        run = torch.compile(together, backend="aot_eager") if compiled else together
        fit(run, distiller_batches()[:, rank * 4 : rank * 4 + 4])
        torch.save(together.module.state_dict(), folder / f"distiller-{name}-{rank}.pt")


def crd(folder, rank):
    """Update CRD's memory from both processes."""
    for kind in ("sent", "kept", "left"):
        torch.manual_seed(rank)  # memories begin unequal
        method = CRD(Sizes(student_dim=4, teacher_dim=9, samples=20), negatives=7)
        if kind == "left":
            leave_equal_buffers(method)
        model = nn.parallel.DistributedDataParallel(method, broadcast_buffers=kind != "kept")
        for step in range(3):
            indices = torch.tensor([[0, 1, 2], [2, 3, 4]])[rank] + 4 * step  # one sample on both
            student = torch.randn(3, 4)
            model(Signals(student, torch.randn(3, 9), indices=indices)).backward()
        gradient = method.embed_student.weight.grad.clone()
        before, sums = method.memory.clone(), method.log_normalizers.clone()
        model(Signals(student, torch.randn(3, 9), indices=torch.arange(3) + 3 * rank))
        touched = (method.memory != before).any(dim=2)
        sent = sum(buffer.numel() for buffer in model.modules_buffers)
        file = folder / f"crd-{kind}-{rank}.pt"
        torch.save({"equal": [before, sums, gradient], "touched": touched, "sent": sent}, file)


def buffers(folder, rank):
    """Share the batch statistics of two models."""
    model = nn.BatchNorm1d(3)
    model.running_mean.fill_(rank)
    share_buffers(model)
    torch.save(model.running_mean, folder / f"buffers-{rank}.pt")


class Idle(nn.Module):
    """A classifier of digits with a layer that it does not use."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Linear(64, 10), nn.Linear(2, 2)

    def forward(self, images):
        return self.used(images.flatten(1))


def idle_parameters(folder, rank):
    """Keep what is said of a student with parameters that no loss reaches."""
    alone = {"method": "none", "feature_weight": 0, "trackers": "", "device": "cpu"}
    try:
        train("digits", folder / "idle", student=Idle(), show=False, **alone)
    except UserError as error:
        (folder / f"idle-{rank}.txt").write_text(str(error))


class Frozen:
    """What has a precision."""

    precision = AS_AROUND


def precisions(folder, rank):
    """Settle a teacher's precision where the processes' devices differ in speed."""
    times = {0: 2.0, 1: 0.1}[rank]
    last = Precision(torch.bfloat16, True)
    speeds = {FLOAT32: 1.0, Precision(torch.bfloat16): 1.0, last: 1 / times}
    measured, precision._measured = precision._measured, lambda *_: speeds
    accelerator = plain_accelerator(recipe("digits", device="cpu"))
    found = []
    (folder / "precision").mkdir(exist_ok=True)
    for resume in (False, True):
        teacher = Frozen()
        precision.settle_precision(teacher, accelerator, folder / "precision", resume)
        found.append([str(teacher.precision.dtype), teacher.precision.channels_last])
        speeds[last] = 10.0  # before the run goes on, the first one's device has changed
    precision._measured = measured
    torch.save(found, folder / f"precision-{rank}.pt")


def sharded(config):
    """The accelerator of a config, made to shard, which accelerate does by itself on GPUs only."""
    accelerator = plain_accelerator(config)
    # Each new look at the state copies the processes' type over that of the accelerator.
    PartialState().distributed_type = DistributedType.FSDP
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="no_wrap"
    )
    return accelerator


def shards(folder, teacher, rank):
    """Train sharded weights, and resume the run from its middle; keep how they were held."""
    from vkd.api import train as train_module

    held, original = [], trainer.Trainer.fit

    def fit(self, resume=False):
        parameters = list(self.modules[0].parameters())
        kinds = sorted({type(parameter).__name__ for parameter in parameters})
        mine = sum(parameter.to_local().numel() for parameter in parameters)
        whole = sum(parameter.numel() for parameter in parameters)
        held.append([str(self.accelerator.distributed_type), kinds, mine, whole])
        return original(self, resume)

    trainer.Trainer.fit, train_module.make_accelerator = fit, sharded
    config = replace(even_training(teacher, 32), checkpoint_every=10)
    train(config, folder / "sharded", show=False)
    if rank == 0:
        shutil.copytree(folder / "sharded", folder / "sharded-resumed")
        shutil.rmtree(folder / "sharded-resumed" / "checkpoints" / "epoch-00020")
    PartialState().wait_for_everyone()
    train(config, folder / "sharded-resumed", resume=True, show=False)
    trainer.Trainer.fit = original
    torch.save(held, folder / f"shards-{rank}.pt")


plain_accelerator = make_accelerator


def even_embedding(teacher, batch_size, accumulation=1):
    """The same for an embedding; its student's embedding are ten numbers."""
    return recipe(
        "digits-embedding", student="plain_vit", teacher_checkpoint=str(teacher),
        batch_size=batch_size, accumulation=accumulation, epochs=5, warmup_epochs=0,
        optimizer="sgd", lr=0.05, lr_reference_batch=64, train_fraction=64 / 718, device="cpu",
        trackers="", checkpoint_every=5, evaluate_every=5, feature_weight=50.0,
    )  # fmt: skip


def failures(folder, rank):
    """Skip, stop and go on by the spoilt picture of one process alone, and keep what each has."""
    found, original = {}, trainer.Trainer.evaluate

    def evaluate(self):
        state = self.accelerator.unwrap_model(self.modules[0]).state_dict()
        found["weights"] = {name: part.clone() for name, part in state.items()}
        return original(self)

    trainer.Trainer.evaluate = evaluate
    shared = {"batch_size": 16, "accumulation": 2, "epochs": 3}
    config, objects = spoilt.classification(None, on_failure="skip", **shared)
    train(config, folder / "spoilt-skip", show=False, **objects)
    trainer.Trainer.evaluate = original
    config, objects = spoilt.classification(None, **shared)
    try:
        train(config, folder / "spoilt-stop", show=False, **objects)
    except RunError as error:
        found["error"] = str(error)
    torch.save(found, folder / f"spoilt-{rank}.pt")


def main(folder, teacher):
    """Do all parts."""
    rank = PartialState(cpu=True).process_index
    statistics(folder, rank)
    distillers(folder, rank)
    crd(folder, rank)
    precisions(folder, rank)
    for name, last in (("channels-first", False), ("channels-last", True)):
        config = even_training(teacher, 32)
        config = replace(config, student="conv_vit_digits", epochs=3, ema_decay=0.9)
        train(replace(config, channels_last=last), folder / name, show=False)
    buffers(folder, rank)
    idle_parameters(folder, rank)
    failures(folder, rank)
    cache(stored(teacher), folder / "store", views=1, show=False)
    mixed(folder, teacher, rank)
    train(even_training(teacher, 32), folder / "two", show=False)
    train(even_embedding(teacher, 32), folder / "embedding", show=False)
    gan = small_gan(teacher_checkpoint=teacher, extractor_checkpoint=teacher, epochs=1, samples=100)
    train(gan, folder / "gan", show=False)
    shards(folder, teacher, rank)
    end_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
