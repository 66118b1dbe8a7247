"""Two real processes (gloo) agree with one."""

import json
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from conftest import ENVIRONMENT
from vkd import standardize, whiten
from vkd.training.checkpoint import read_metrics

PRELUDE = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
"""
# Without it, a process that ends while gloo's threads run is now and then aborted.
EPILOGUE = """
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_statistics_across_processes_equal_those_of_the_whole_batch(torchrun, tmp_path):
    torchrun(
        tmp_path,
        source=PRELUDE
        + """
import sys
from safetensors.torch import load_file

from vkd import standardize, whiten
whole = torch.randn(7, 5) * 2 + 1
mine = (whole[:3] if rank == 0 else whole[3:]).clone().requires_grad_()
found = standardize(mine, across_processes=True)
(found ** 3).sum().backward()
white = whiten(mine.detach(), across_processes=True)
torch.save([found.detach(), mine.grad, white], f"{sys.argv[1]}/{rank}.pt")
"""
        + EPILOGUE,
    )
    torch.manual_seed(0)
    whole = (torch.randn(7, 5) * 2 + 1).requires_grad_()
    expected = standardize(whole)
    (expected**3).sum().backward()
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    found, gradient, white = (torch.cat(column) for column in zip(*parts, strict=True))
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close(gradient, whole.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(white, whiten(whole.detach()), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_distributed_training_of_a_distiller_equals_one_process(torchrun, tmp_path, compiled):
    source = """
import sys
from torch import nn
import vkd
def make():
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    teacher = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3))
    return vkd.Distiller(student, teacher, "1", "1", example=torch.zeros(2, 6))
def fit(module, batches):
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    for images in batches:
        out = module(images)
        loss = out.loss + out.output.square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
torch.manual_seed(1)
batches = torch.randn(10, 8, 6)
alone = make(); fit(alone, batches)
together = nn.parallel.DistributedDataParallel(make())
run = torch.compile(together, backend="aot_eager") if COMPILED else together
fit(run, batches[:, rank * 4:rank * 4 + 4])
for (name, a), b in zip(alone.state_dict().items(), together.module.state_dict().values()):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=name)
open(f"{sys.argv[1]}/{rank}.ok", "w")
"""
    source = source.replace("COMPILED", str(compiled))
    torchrun(tmp_path, source=PRELUDE + source + EPILOGUE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.ok", "1.ok"]


# Stochastic gradient descent, as Adam turns rounding noise on vanishing gradients into whole steps;
# no BatchNorm, whose statistics are those of a process's own images.
RECIPE = """
import sys
from pathlib import Path
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from vkd import tasks
from vkd.recipe import config_of, read_recipe

@register_model
def plain_vit(pretrained=False, **kwargs):
    return VisionTransformer(8, 2, 1, 10, embed_dim=32, depth=2, num_heads=2, class_token=False,
                             global_pool="avg", fc_norm=False)

folder, teacher, batch, accumulation = sys.argv[1:]
config = config_of(read_recipe("digits") | {
    "student": "plain_vit", "teacher_checkpoint": teacher, "batch_size": int(batch),
    "accumulation": int(accumulation), "logit_weight": 1.0, "epochs": 20, "warmup_epochs": 0,
    "optimizer": "sgd", "lr": 0.05, "lr_reference_batch": 64, "train_fraction": 64 / 718,
    "device": "cpu", "trackers": "", "checkpoint_every": 20,
})
tasks.train(config, Path(folder), show=False)
tasks.end_processes()
"""


@pytest.mark.slow
def test_two_processes_train_as_one_with_the_same_global_batch(torchrun, digits_teacher, tmp_path):
    runs = {}
    for processes, batch, accumulation in ((1, 64, 1), (2, 32, 1), (1, 32, 2)):
        folder = tmp_path / f"{processes}-{accumulation}"
        torchrun(folder, digits_teacher, batch, accumulation, source=RECIPE, processes=processes)
        curve = [record["train"]["loss"] for record in read_metrics(folder)]
        runs[folder.name] = curve, load_file(folder / "model.safetensors")
    curve, weights = runs.pop("1-1")
    assert len(curve) == 20
    assert curve[-1] < curve[0] - 0.3
    for other, found in runs.values():
        assert other == pytest.approx(curve, abs=1e-4)
        for name, weight in weights.items():
            torch.testing.assert_close(found[name], weight, atol=1e-4, rtol=0, msg=name)


@pytest.mark.slow
def test_the_command_trains_and_counts_every_image_once(torchrun, vkd, digits_teacher, tmp_path):
    run = tmp_path / "run"
    torchrun(
        "-m", "vkd", "train", "digits", "--output", run, "--epochs", 2, "--warmup-epochs", 0,
        "--evaluate-every", 1, "--device", "cpu", "--teacher-checkpoint", digits_teacher,
        "--batch-size", 32, processes=3,
    )  # fmt: skip
    records = read_metrics(run)
    assert [record["epoch"] for record in records] == [1, 2]
    # 180 validation images: an accuracy is a multiple of 1 / 180 only if each counts once.
    correct = records[-1]["validation"]["accuracy"] * 180 / 100
    assert correct == pytest.approx(round(correct), abs=1e-4)
    evaluate = ("eval", "--checkpoint", run, "--device", "cpu")
    together, alone = torchrun("-m", "vkd", *evaluate, processes=3), vkd(*evaluate).stdout
    assert together.splitlines()[:-1] == alone.splitlines()[:-1]
    assert alone.splitlines()[-1].startswith("images_per_second")
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["epoch"] == 1


# accelerate shards on GPUs only, unless told otherwise; its saving of sharded state is left out.
SHARDED = """
import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from vkd.training import trainer

plain = trainer.make_accelerator

def sharded(config):
    accelerator = plain(config)
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="no_wrap"
    )
    return accelerator

trainer.make_accelerator = sharded
trainer.save_state = lambda *_: None
"""


@pytest.mark.slow
def test_sharded_weights_train_as_whole_ones(torchrun, digits_teacher, tmp_path):
    runs = []
    for name, before in (("whole", ""), ("sharded", SHARDED)):
        torchrun(tmp_path / name, digits_teacher, 32, 1, source=before + RECIPE)
        curve = [record["train"]["loss"] for record in read_metrics(tmp_path / name)]
        scores = [record["validation"]["loss"] for record in read_metrics(tmp_path / name)[4::5]]
        files = [load_file(tmp_path / name / f"{f}.safetensors") for f in ("model", "projection")]
        runs.append((curve, scores, {**files[0], **files[1]}))
    (curve, scores, weights), (other_curve, other_scores, found) = runs
    assert other_curve == pytest.approx(curve, abs=1e-5)
    assert other_scores == pytest.approx(scores, abs=1e-5)
    assert weights.keys() == found.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight, atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
def test_accelerate_launches_the_command(digits_teacher, tmp_path):
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "-m", "vkd", "train", "digits", "--output", run, "--epochs", "1", "--warmup-epochs", "0",
        "--device", "cpu", "--teacher-checkpoint", digits_teacher, "--accumulation", "2",
    ]  # fmt: skip
    done = subprocess.run(map(str, command), capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    (record,) = read_metrics(run)
    # 718 images in whole batches of 64, two batches an update.
    assert record["updates"] == math.ceil(718 // 64 / 2)
