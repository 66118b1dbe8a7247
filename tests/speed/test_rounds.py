"""Taking turns, beside a clock that is told the time."""

import time

import torch
from torch import nn

from vkd.speed.rounds import FEWEST, WARM_UP, in_turns
from vkd.speed.runtimes import batch_of, in_pytorch


class Clock:
    """Stands still but for what is called."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def call(self, name, seconds):
        def run():
            self.calls.append(name)
            self.now += seconds

        return run


def test_every_second_round_runs_backwards_after_warming_up():
    clock = Clock()
    calls = {"a": clock.call("a", 1.0), "b": clock.call("b", 2.0)}
    taken = in_turns(calls, rounds=6, seconds=1000.0, clock=clock)
    assert "".join(clock.calls) == "a" * WARM_UP + "b" * WARM_UP + "abba" * 3
    assert taken == {"a": [1.0] * 6, "b": [2.0] * 6}


def test_no_round_begins_when_the_time_is_over_but_for_the_first_five():
    clock = Clock()
    assert len(in_turns({"a": clock.call("a", 1.0)}, 100, 9.5, clock)["a"]) == 10
    assert len(in_turns({"a": clock.call("a", 1.0)}, 100, 0.0, clock)["a"]) == FEWEST
    assert len(in_turns({"a": clock.call("a", 1.0)}, 2, 0.0, clock)["a"]) == 2


def test_a_network_that_sleeps_takes_as_long_as_it_sleeps():
    class Sleeping(nn.Module):
        def forward(self, images):
            time.sleep(0.01)
            return images

    call = in_pytorch(Sleeping(), {"images": torch.zeros(1, 2)}, torch.device("cpu"))
    (seconds,) = in_turns({"a": call}, 5, 10.0).values()
    assert all(0.01 <= value < 0.2 for value in seconds)


def test_a_batch_is_drawn_for_images_and_repeats_labels():
    examples = {"noise": torch.zeros(2, 3), "labels": torch.tensor([4, 5])}
    batch, again = batch_of(examples, 5), batch_of(examples, 5)
    assert batch["noise"].shape == (5, 3)
    assert batch["noise"].std() > 0.1
    assert torch.equal(batch["noise"], again["noise"])
    assert batch["labels"].tolist() == [4] * 5
