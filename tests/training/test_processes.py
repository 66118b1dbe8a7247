"""What several processes must agree on."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from support.two_processes import Idle
from vkd.errors import FieldError, UserError
from vkd.training.processes import require_gradients, require_shared


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
    require_shared(tmp_path, first)
    with pytest.raises(FieldError, match="not there on the machine of process 9; it must be"):
        require_shared(tmp_path, other)
    (tmp_path / "recipe.yaml").touch()
    require_shared(tmp_path, other)


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
