"""Batches are copied beside the step, on streams that this test only records without CUDA."""

from contextlib import contextmanager

import pytest
import torch

from vkd.config import TrainingConfig
from vkd.training.accelerator import make_accelerator
from vkd.training.moving import moved

NESTED = {"images": [torch.zeros(1)], "targets": [{"boxes": torch.zeros(2)}]}


def test_on_the_cpu_batches_pass_as_they_are():
    assert list(moved([NESTED, NESTED], torch.device("cpu"))) == [NESTED, NESTED]


def test_the_step_waits_for_the_copy_and_the_copy_for_no_step(monkeypatch):
    events = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def wait_stream(self, other):
            events.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def inside(stream):
        events.append(f"on {stream.name}")
        yield
        events.append("off")

    step = Stream("step")
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("copying"))
    monkeypatch.setattr(torch.cuda, "stream", inside)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: step)
    kept = lambda tensor, stream: events.append(f"kept for {stream.name}")  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "record_stream", kept)

    def fetched():
        for number in range(2):
            events.append(f"fetch {number}")
            yield NESTED

    for _ in moved(fetched(), torch.device("cuda")):
        events.append("compute")
    one = ["off", "step waits for copying", "kept for step", "kept for step", "compute"]
    assert events == [
        "on copying",
        "fetch 0",
        *one,
        "on copying",
        "fetch 1",
        *one,
        "on copying",
        "off",
    ]


def test_the_host_waits_for_no_copy_where_there_is_cuda():
    cuda = torch.cuda.is_available()
    accelerator = make_accelerator(TrainingConfig(task="toy"))
    assert accelerator.non_blocking == cuda
    assert not make_accelerator(TrainingConfig(task="toy", device="cpu")).non_blocking


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_values_are_whole_on_cuda():
    from torch.utils.data import DataLoader, TensorDataset

    accelerator = make_accelerator(TrainingConfig(task="toy", device="cuda"))
    rows = torch.arange(4096.0)[:, None].expand(-1, 4096).contiguous()
    batches = accelerator.prepare(DataLoader(TensorDataset(rows), 256, pin_memory=True))
    busy = torch.randn(4096, 4096, device="cuda")
    sums = []
    for (batch,) in moved(batches, accelerator.device):
        for _ in range(20):
            busy = (busy @ busy).clamp(-1, 1)
        sums.append(batch.sum(1))
    assert torch.equal(torch.cat(sums).cpu(), rows.sum(1))
