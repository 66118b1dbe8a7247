"""Speed and waiting, by a clock that the test turns."""

import pytest
import torch

from vkd.training import pace as pace_module
from vkd.training import step_records
from vkd.training.gradients import Gradients
from vkd.training.pace import Pace, WaitingHint, worker_advice
from vkd.training.step_records import StepRecorder


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be turned by ``clock[0] += ...``."""
    now = [0.0]
    for module in (pace_module, step_records):
        monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    return now


def batches(clock, count, seconds):
    for number in range(count):
        clock[0] += seconds
        yield number


def test_an_epoch_and_the_updates_since_a_record_are_measured_apart(clock):
    recorder = StepRecorder(every=2, images=8)
    optimizer = torch.optim.SGD([torch.ones(1)], lr=0.1)
    gradients = Gradients(torch.ones(()), torch.zeros(()))
    found = []
    for number in recorder.timed(batches(clock, 4, seconds=1.0)):
        clock[0] += 3.0 if number < 2 else 1.0
        terms = {"loss": torch.ones(())}
        found.append(recorder.record(number + 1, terms, gradients, optimizer))
    recorder.epoch.stop()
    clock[0] += 100.0  # evaluation
    assert [record is None for record in found] == [True, False, True, False]
    assert (found[1]["images_per_second"], found[1]["waiting"]) == (2.0, 0.25)
    assert (found[3]["images_per_second"], found[3]["waiting"]) == (4.0, 0.5)
    assert (recorder.epoch.images_per_second, recorder.epoch.waiting) == (2.6667, 0.3333)


def epoch_of(clock, waited, computed):
    pace = Pace()
    clock[0] += waited + computed
    pace.add(1000, waited)
    pace.stop()
    return pace


def test_waiting_is_said_once_with_what_may_help(clock, caplog):
    hint = WaitingHint(["more workers", "less work"])
    for _ in range(4):
        hint.add(epoch_of(clock, waited=30.0, computed=70.0))
    (record,) = caplog.records
    assert record.getMessage() == (
        "data: waited for 30% of 200 s of training, at 10 images/s of at most 14.29; what may "
        "help: more workers, less work."
    )


@pytest.mark.parametrize(("waited", "computed"), [(100.0, 500.0), (9.0, 1.0)])
def test_little_waiting_is_not_said(clock, caplog, waited, computed):
    WaitingHint([]).add(epoch_of(clock, waited, computed))
    assert not caplog.records


def test_workers_are_advised_where_cores_are_left(monkeypatch):
    monkeypatch.setattr(pace_module, "cores", lambda: 8)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert worker_advice(3, cuda) == ["more workers (--workers, now 3; 4 cores for each process)"]
    assert worker_advice(4, cuda) == worker_advice(1, cpu) == []
    assert worker_advice(0, cpu)
