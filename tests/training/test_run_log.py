"""The files of a run are whole at every moment."""

import json
import os

import pytest

from support.commands import run_here, run_python
from vkd.recipe import recipe
from vkd.training.extra_log import ExtraLog, RunShape
from vkd.training.records import read_records
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


def resumed_log(folder, epoch, updates, extra=(), show=False):
    config = recipe("digits", trackers="")
    shape = RunShape(epochs=5, steps=4, updates=4, parameters=7, metric="accuracy")
    trackers = Trackers(config, folder, epoch, {})
    return RunLog(folder, shape, trackers, extra=extra, epoch=epoch, updates=updates, show=show)


def test_the_mean_of_what_losses_explain_is_readable_where_one_is_far_below_nothing(run, capsys):
    log = resumed_log(run, 2, 8, show=True)
    shares = {"body": 0.5, "patch_3": -1e5}
    log.epoch({"epoch": 3, "lr": 0.1, "train": {"loss": 1.0}, "explained": shares} | PACE)
    assert " explains -25.0% " in capsys.readouterr().err


def test_an_epoch_that_is_redone_after_a_kill_does_not_repeat_its_notes(run, caplog):
    first = resumed_log(run, 0, 0)
    for message in ("left out in epoch 3.", "left out in epoch 3.", "of another."):
        first.note_of_epoch(message)
    second = resumed_log(run, 2, 8)
    caplog.clear()
    for _ in range(3):
        second.note_of_epoch("left out in epoch 3.")
    second.note("of another.")
    kept = (run / "notes.txt").read_text().splitlines()
    assert sorted(kept) == ["left out in epoch 3."] * 3 + ["of another."] * 2
    assert [record.message for record in caplog.records].count("left out in epoch 3.") == 3


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


def test_resuming_within_an_epoch_keeps_its_updates(run):
    def lines(record, updates, shape):
        return [f"{record['epoch']}: {[one['update'] for one in updates]}"]

    extra = [ExtraLog(file="extra.txt", lines=lines)]
    log = resumed_log(run, 1, 6, extra)
    lines_of = [(run / name).read_text().splitlines() for name in FILES]
    assert [len(part) for part in lines_of] == [1, 6]
    log.update({"update": 8})
    log.epoch({"epoch": 2, "lr": 0.1, "train": {}, **PACE})
    assert (run / "extra.txt").read_text() == "1: [1, 2, 3, 4]\n2: [5, 6, 8]\n"


def test_epochs_that_stand_twice_and_half_a_line_are_mended(run, caplog):
    file = run / "metrics.jsonl"
    with file.open("a") as opened:
        opened.write('{"epoch": 2, "updates": 8, "seconds": 5}\n{"epoch": 4, "upd')
    assert [record["epoch"] for record in read_records(file, "epoch")] == [1, 2, 3]
    assert "again further down and are left out: 1" in caplog.text
    log = resumed_log(run, 3, 12)
    log.epoch({"epoch": 4, "lr": 0.1, "train": {}, **PACE})
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    assert records[1]["seconds"] == 5


@pytest.mark.slow
def test_a_process_killed_between_an_epochs_record_and_its_state(tmp_path):
    flags = ("digits", "--method", "none", "--epochs", "3", "--warmup-epochs", "0", "--device",
             "cpu", "--trackers", "", "--checkpoint-every", "1", "--log-every", "1")  # fmt: skip
    kill = """
import os, signal, sys
def hook(event, arguments):
    if event == "os.mkdir" and "epoch-00002" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
from vkd.cli import main
main(sys.argv[1:])
"""
    run, whole = tmp_path / "run", tmp_path / "whole"
    killed = run_python("-c", kill, "train", *flags, "--output", run)
    assert killed.returncode == -9, killed.stderr
    assert [one["epoch"] for one in read_records(run / "metrics.jsonl", "epoch")] == [1, 2]
    assert run_here("train", *flags, "--output", run, "--resume").returncode == 0
    assert run_here("train", *flags, "--output", whole).returncode == 0
    times = {"seconds", "images_per_second", "waiting", "memory_gb"}
    for name, key in zip(FILES, ("epoch", "update"), strict=True):
        assert (run / name).read_text().count("\n") == len(read_records(run / name, key))
        found, expected = (
            [
                {n: v for n, v in one.items() if n not in times}
                for one in read_records(f / name, key)
            ]
            for f in (run, whole)
        )
        assert found == expected
