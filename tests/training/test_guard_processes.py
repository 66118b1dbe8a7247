"""A failure on one of two processes stops, or skips, on both."""

import pytest
import torch

import vkd
from support.spoilt import spoilt_images
from vkd.training.failures import kept_failures
from vkd.training.records import read_metrics


@pytest.fixture
def found(two_processes):
    return [torch.load(two_processes / f"spoilt-{n}.pt", weights_only=True) for n in range(2)]


@pytest.mark.slow
def test_a_step_of_one_process_is_skipped_on_both(two_processes, found):
    first, second = (part["weights"] for part in found)
    # Batch statistics are of a process's own images until one model is evaluated.
    names = [name for name in first if "running" not in name]
    assert all(torch.equal(first[name], second[name]) for name in names)
    assert all(part.isfinite().all() for part in (*first.values(), *second.values()))
    records = read_metrics(two_processes / "spoilt-skip")
    skipped = [record["skipped"] for record in records]
    assert sum(skipped) >= 1
    assert set(skipped) <= {0, 1}
    notes = (two_processes / "spoilt-skip" / "notes.txt").read_text().splitlines()
    assert len(notes) == sum(skipped)


@pytest.mark.slow
def test_a_step_of_one_process_stops_both_with_one_sentence(two_processes, found):
    errors = {part["error"] for part in found}
    assert len(errors) == 1
    run = two_processes / "spoilt-stop"
    (kept,) = kept_failures(run)  # the other process's batch was well
    failure = kept.failure
    assert "image 5" in failure.pictures
    assert kept.folder.name == f"update-{failure.update:08d}-process-{failure.process}"
    (error,) = errors
    assert f"at update {failure.update} on process {failure.process} (" in error
    replayed = vkd.replay(run, data=spoilt_images(), process=failure.process)
    assert replayed.is_reproduced
