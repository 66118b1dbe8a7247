"""The files of a run are whole at every moment."""

import json
import os

import pytest

from vkd.recipe import recipe
from vkd.training.extra_log import ExtraLog, RunShape
from vkd.training.run_log import RunLog
from vkd.training.trackers import Trackers

PACE = {"images_per_second": 10.0, "waiting": 0.1}
FILES = ("metrics.jsonl", "steps.jsonl")


@pytest.fixture
def run(tmp_path):
    """A run folder with three epochs of four updates."""
    records = [{"epoch": epoch, "updates": 4 * epoch} for epoch in (1, 2, 3)]
    steps = [{"update": update} for update in range(1, 13)]
    for name, lines in zip(FILES, (records, steps), strict=True):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def resumed_log(folder, epoch, updates, extra=()):
    config = recipe("digits", trackers="")
    shape = RunShape(epochs=5, steps=4, updates=4, parameters=7, metric="accuracy")
    trackers = Trackers(config, folder, epoch, {})
    return RunLog(folder, shape, trackers, extra=extra, epoch=epoch, updates=updates, show=False)


def test_resuming_drops_what_came_after_the_checkpoint(run):
    log = resumed_log(run, 2, 8)
    lines = [(run / name).read_text().splitlines() for name in FILES]
    assert [len(part) for part in lines] == [2, 8]
    log.rewind(1, 4)
    lines = [(run / name).read_text().splitlines() for name in FILES]
    assert [len(part) for part in lines] == [1, 4]
    assert sorted(path.name for path in run.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("killed", FILES)
def test_a_process_killed_while_it_resumes_leaves_whole_files(run, killed, monkeypatch):
    before = {name: (run / name).read_text() for name in FILES}
    replace = os.replace

    def die(source, target):
        if os.path.basename(target) == killed:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            resumed_log(run, 2, 8)
    assert (run / killed).read_text() == before[killed]
    resumed_log(run, 2, 8)
    assert len((run / killed).read_text().splitlines()) == {FILES[0]: 2, FILES[1]: 8}[killed]


def test_half_a_last_line_is_no_record(run):
    with (run / "steps.jsonl").open("a") as file:
        file.write('{"update": 13, "ter')
    resumed_log(run, 3, 12)
    assert len((run / "steps.jsonl").read_text().splitlines()) == 12


def made_lines(record, updates, shape):
    places = [shape.place(update["update"]) for update in updates]
    return [f"{record['epoch']}: {places}"]


def test_an_extra_log_follows_the_records_through_resuming_and_going_back(run):
    extra = ExtraLog(file="extra.txt", header="head", lines=made_lines)
    log = resumed_log(run, 2, 8, [extra])

    def lines():
        return (run / "extra.txt").read_text().splitlines()

    first = ["head", *(f"{e + 1}: {[(e, i) for i in range(4)]}" for e in range(2))]
    assert lines() == first
    log.update({"update": 9})
    log.update({"update": 11})
    assert lines() == first
    log.epoch({"epoch": 3, "updates": 12, "lr": 1.0, "train": {}} | PACE)
    assert lines() == [*first, "3: [(2, 0), (2, 2)]"]
    log.rewind(1, 4)
    assert lines() == first[:2]
    log.update({"update": 5})
    log.epoch({"epoch": 2, "updates": 8, "lr": 1.0, "train": {}} | PACE)
    assert lines() == [*first[:2], "2: [(1, 0)]"]
