"""Memory that a loader's processes and its own share: used in turn, and never while it is read."""

import signal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from crossreid.data.loader_processes import Place, SharedBatches, as_arrays, as_tensors, begin


class Numbered(Dataset):
    def __getitem__(self, index):
        return np.full((3, 8, 4), index % 251, dtype=np.uint8)

    def __len__(self):
        return 400


class Put:
    def __init__(self, shared):
        self.shared = shared

    def __call__(self, images):
        return self.shared.put(images)


def loader_of(shared, workers):
    return DataLoader(
        Numbered(), batch_size=4, num_workers=workers, collate_fn=Put(shared), worker_init_fn=begin,
        persistent_workers=workers > 0,
    )  # fmt: skip


def test_every_batch_is_whole_when_it_is_taken_also_after_one_that_was_broken_off():
    shared = SharedBatches(2, 4, (3, 8, 4))
    shared.lay_out()
    loader = loader_of(shared, 2)
    for count in (3, 100, 100):
        for number, place in zip(range(count), loader, strict=False):
            assert isinstance(place, Place)
            images = shared.get(place)
            assert images[:, 0, 0, 0].tolist() == [i % 251 for i in range(4 * number, 4 * number + 4)]
            assert bool((images == images[:, :1, :1, :1]).all())


def test_places_come_again():
    shared = SharedBatches(1, 4, (3, 8, 4))
    shared.lay_out()
    memory = {shared.get(place).data_ptr() for place in loader_of(shared, 1)}
    assert len(memory) == 3


def test_without_processes_nothing_is_shared():
    shared = SharedBatches(0, 4, (3, 8, 4))
    shared.lay_out()
    batches = [shared.get(place) for place in loader_of(shared, 0)]
    assert torch.cat(batches)[:, 0, 0, 0].tolist() == [i % 251 for i in range(400)]


class Handlers(Dataset):
    def __getitem__(self, index):
        return signal.getsignal(signal.SIGINT) == signal.SIG_IGN

    def __len__(self):
        return 1


def test_a_process_leaves_ctrl_c_to_its_parent():
    assert next(iter(DataLoader(Handlers(), batch_size=None, num_workers=1, worker_init_fn=begin)))
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN


def test_tensors_are_handed_over_as_arrays_and_all_else_as_it_is():
    given = (Place(0, 1, 2), (torch.ones(2, 3), None), ["x"], torch.arange(2))
    sent = as_arrays(given)
    assert isinstance(sent[0], Place)
    assert isinstance(sent[1][0], np.ndarray)
    assert sent[2] is given[2]
    back = as_tensors(sent)
    assert torch.equal(back[1][0], given[1][0])
    assert torch.equal(back[3], given[3])
    assert back[:1] == given[:1]
    assert back[1][1] is None
