import pytest
import torch

from crossreid.errors import CrossreidError
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import (
    agreed_signal,
    gathered_generators,
    make_fabric,
    restore_gathered_generators,
)


@pytest.fixture(scope="module")
def fabric():
    return make_fabric(TrainingOptions(accelerator="cpu"))


def test_one_process_needs_no_launcher(fabric):
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


def test_one_process_agrees_with_itself(fabric):
    assert agreed_signal(fabric, []) == 0
    assert agreed_signal(fabric, [15, 2]) == 15


def test_generators_are_named_by_rank_and_come_back(fabric):
    tensors, facts = gathered_generators(fabric)
    assert {name.partition("/")[0] for name in tensors} == {"0"}
    assert len(facts) == 1
    first = torch.rand(3)
    restore_gathered_generators(fabric, tensors, facts)
    assert torch.equal(torch.rand(3), first)


def test_another_number_of_processes_is_warned_of_and_keeps_the_generators(fabric):
    tensors, facts = gathered_generators(fabric)
    torch.manual_seed(3)
    first = torch.rand(3)
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match="written by 2 processes, now there are 1"):
        restore_gathered_generators(fabric, tensors, facts * 2)
    assert torch.equal(torch.rand(3), first)


def test_fp16_on_a_cpu_is_refused_and_not_replaced(recwarn):
    with pytest.raises(CrossreidError, match="16-mixed: CPUs train in no fp16, and bf16 in its place"):
        make_fabric(TrainingOptions(accelerator="cpu", precision="16-mixed"))
    assert not list(recwarn)
