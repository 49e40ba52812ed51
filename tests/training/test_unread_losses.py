import pytest
import torch

from crossreid.training.unread_losses import AHEAD, NonFiniteLoss, StepLosses, UnreadLosses, ahead_on


def added(unread, steps, bad=None):
    """What is read as losses `a` and `b` of one step after another are added."""
    course = []
    for step in steps:
        unread.add(step, ("a", "b"), torch.tensor([step + 0.5, float("nan") if step == bad else 1.0]))
        course.append([losses.step for losses in unread.take()])
    return course


def test_nothing_waits_on_a_cpu_and_a_gpu_is_some_steps_ahead():
    assert ahead_on(torch.device("cpu")) == 0
    assert ahead_on(torch.device("cuda", 1)) == AHEAD > 0


def test_at_no_distance_each_step_is_read_as_it_is_added():
    assert added(UnreadLosses(), range(3)) == [[0], [1], [2]]


def test_steps_are_read_in_blocks_once_enough_later_ones_are_under_way():
    unread = UnreadLosses(ahead=2)
    assert added(unread, range(7, 15)) == [[], [], [], [], [7, 8, 9], [], [], [10, 11, 12]]
    assert unread.newest == {"a": 12.5, "b": 1.0}
    unread.flush()
    assert unread.take() == [StepLosses(step, {"a": step + 0.5, "b": 1.0}) for step in (13, 14)]
    unread.flush()
    assert unread.take() == []
    assert unread.newest == {"a": 14.5, "b": 1.0}


@pytest.mark.parametrize("ahead", [0, 1, 3, 20])
def test_what_is_not_finite_is_named_with_its_own_step_and_all_before_it_is_kept(ahead):
    unread = UnreadLosses(ahead)
    read = []

    def add_all():
        for step in range(12):
            unread.add(step, ("a", "b"), torch.tensor([step + 0.5, float("nan") if step in (6, 7) else 1.0]))
            read.extend(unread.take())
        unread.flush()

    with pytest.raises(NonFiniteLoss, match=r"^loss b is not finite at step 6 \(\{'a': 6\.5, 'b': nan\}\)"):
        add_all()
    read += unread.take()
    assert [losses.step for losses in read] == list(range(6))
    assert unread.newest == {"a": 5.5, "b": 1.0}
    unread.flush()
    assert unread.take() == [], "what follows from it is no loss of the run"


def test_other_values_are_looked_at_and_are_no_losses():
    unread = UnreadLosses(ahead=1)
    for step in range(4):
        unread.add(step, ("a",), torch.tensor([1.0]))
        unread.add(step, ("the norm",), torch.tensor([2.0 if step < 3 else float("inf")]), logged=False)
    with pytest.raises(NonFiniteLoss, match=r"^the norm is not finite at step 3"):
        unread.flush()
    assert [losses.values for losses in unread.take()] == [{"a": 1.0}] * 4
