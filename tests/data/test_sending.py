from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch

from crossreid.data.sending import all_sent, sent, sent_ahead, tensors_in


class Pair(NamedTuple):
    images: torch.Tensor
    names: list


def test_tensors_of_tuples_are_sent_and_all_else_stays():
    given = (Pair(torch.ones(2), ["a"]), torch.zeros(1), 3, None)
    assert [tensor.device.type for tensor in tensors_in(all_sent(given, torch.device("meta")))] == ["meta", "meta"]
    back = all_sent(given, torch.device("cpu"))
    assert isinstance(back[0], Pair)
    assert torch.equal(back[0].images, given[0].images)
    assert back[0].names == ["a"]
    assert back[2:] == (3, None)
    assert torch.equal(sent(np.arange(3), torch.device("cpu")), torch.arange(3))


def test_on_a_cpu_each_is_made_as_it_is_asked_for():
    asked = []

    def loaded():
        for number in range(3):
            asked.append(number)
            yield number

    batches = sent_ahead(loaded(), lambda number: number * 10, torch.device("cpu"))
    assert next(batches) == 0
    assert asked == [0]
    assert list(batches) == [10, 20]


def test_on_a_gpu_one_is_made_ahead_and_none_is_used_before_it_is_there(monkeypatch):
    """Without a GPU: the order of things, of streams that only take notes."""
    told = []

    class Stream:
        def wait_stream(self, other):
            told.append("waited for")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())

    def make(number):
        told.append(f"made {number}")
        return (number,)

    for (number,) in sent_ahead(range(3), make, torch.device("cuda")):
        told.append(f"used {number}")
    ready = "waited for"
    assert told == ["made 0", ready, "made 1", "used 0", ready, "made 2", "used 1", ready, "used 2"]
