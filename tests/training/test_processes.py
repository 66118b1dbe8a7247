"""What several processes must agree on."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from support.runs import reseal
from support.two_processes import Idle
from vkd.api.train import train
from vkd.errors import FieldError, UserError
from vkd.recipe import recipe
from vkd.training.checkpoint import states_of
from vkd.training.processes import require_gradients, require_shared
from vkd.training.records import read_metrics


def test_parameters_without_a_gradient_are_named():
    network = Idle()
    network(torch.zeros(2, 64)).sum().backward()
    with pytest.raises(UserError, match=r"No loss reaches .* idle.weight and 1 others"):
        require_gradients(network)
    network.idle.requires_grad_(False)
    require_gradients(network)
    network.bias = nn.Parameter(torch.zeros(1))
    with pytest.raises(UserError, match="the parameter bias; several"):
        require_gradients(nn.ModuleDict({"module": network}))


def test_a_folder_that_a_process_does_not_see_is_refused(tmp_path):
    first, other = (
        SimpleNamespace(is_main_process=index == 0, process_index=index) for index in (0, 9)
    )
    file = tmp_path / "recipe.yaml"
    require_shared(file, first)
    with pytest.raises(FieldError, match="not there on the machine of process 9; it must be"):
        require_shared(file, other)
    file.touch()
    require_shared(file, other)


@pytest.mark.slow
def test_two_processes_say_which_parameter_no_loss_reaches(two_processes):
    for rank in range(2):
        assert (
            "the parameter student.idle.weight and 1 others"
            in (two_processes / f"idle-{rank}.txt").read_text()
        )


@pytest.mark.slow
def test_batch_statistics_become_those_of_the_first_process(two_processes):
    for rank in range(2):
        mean = torch.load(two_processes / f"buffers-{rank}.pt", weights_only=True)
        assert torch.equal(mean, torch.zeros(3))


def test_a_run_that_goes_on_with_other_processes_keeps_its_place(
    interrupted, digits_teacher, tmp_path, caplog
):
    config = recipe(
        "digits", epochs=3, warmup_epochs=0, device="cpu", trackers="", checkpoint_every=1,
        teacher_checkpoint=str(digits_teacher),
    )  # fmt: skip
    train(config, tmp_path / "unbroken", show=False)
    assert "processes and now" not in caplog.text
    interrupted(config, tmp_path / "run")
    (state,) = states_of(tmp_path / "run")
    saved = json.loads((state / "progress.json").read_text())
    # As four processes would have left it.
    four = saved | {"updates": saved["updates"] // 4, "processes": 4}
    (state / "progress.json").write_text(json.dumps(four))
    reseal(state)
    train(config, tmp_path / "run", resume=True, show=False)
    assert (
        "had 4 processes and now has 1. It goes on at epoch 2, batch 1, and update 11, after 2"
        in (caplog.text)
    )
    found, expected = (read_metrics(tmp_path / name) for name in ("run", "unbroken"))
    assert [record["updates"] for record in found] == [11, 22, 33]
    assert [record["lr"] for record in found] == [record["lr"] for record in expected]
