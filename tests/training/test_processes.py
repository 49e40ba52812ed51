import pytest
import torch

from crossreid.errors import CrossreidError
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import (
    StopAgreement,
    agreed_signal,
    gathered,
    gathered_generators,
    make_fabric,
    restore_gathered_generators,
)
from forked import ran_together


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
    with pytest.warns(UserWarning, match="written by 2 processes, but now there are 1"):
        restore_gathered_generators(fabric, tensors, facts * 2)
    assert torch.equal(torch.rand(3), first)


def test_fp16_on_a_cpu_is_refused_and_not_replaced(recwarn):
    with pytest.raises(CrossreidError, match="16-mixed: CPUs cannot train in fp16, and bf16 instead"):
        make_fabric(TrainingOptions(accelerator="cpu", precision="16-mixed"))
    assert not list(recwarn)


def gathers():
    """What is gathered in two processes, and the gradient that comes back, against their definitions."""
    fabric = make_fabric(TrainingOptions(accelerator="cpu", devices=2))
    rank = fabric.global_rank
    everyones = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(2, 6, 4, 2, generator=torch.Generator().manual_seed(1))
    own = everyones[rank].transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    found = gathered(fabric, own)
    assert torch.equal(found, everyones.flatten(0, 1))
    (found * weights[rank]).sum().backward()  # each process has a loss of its own
    torch.testing.assert_close(own.grad, weights.sum(0)[3 * rank : 3 * rank + 3])
    labels = gathered(fabric, torch.arange(3) + 10 * rank)
    assert labels.tolist() == [0, 1, 2, 10, 11, 12]
    assert not gathered(fabric, everyones[rank]).requires_grad


def test_rows_of_all_processes_come_together_with_their_gradient(tmp_path):
    ran_together(2, gathers, folder=tmp_path)


def agrees():
    """Two processes of which one is asked to stop after its third step; each says after which it knows."""
    fabric = make_fabric(TrainingOptions(accelerator="cpu", devices=2))
    for every in (1, 2, 4):
        received = []
        agreement, known = StopAgreement(fabric, received, every=every), None
        for step in range(1, 13):
            if step == 3 and fabric.global_rank == 1:
                received.append(15)
            if (number := agreement.reached()) and known is None:
                known = (step, number)
        print(every, *known)
        assert agreement.now() == 15


def test_processes_know_after_the_same_step_that_one_is_to_stop(tmp_path):
    one, other = ran_together(2, agrees, folder=tmp_path)
    assert one == other
    assert one.splitlines() == ["1 3 15", "2 6 15", "4 8 15"]


def test_one_process_knows_at_once(fabric):
    received = []
    agreement = StopAgreement(fabric, received)
    assert agreement.reached() == 0
    received.append(2)
    assert agreement.reached() == agreement.now() == 2
