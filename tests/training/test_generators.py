import random

import numpy as np
import torch

from crossreid.training.generators import generator_states, preserved_generators, restore_generators, seed_generators


def drawn():
    return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()  # noqa: NPY002


def test_generators_go_on_where_they_were():
    states = generator_states()
    first = drawn()
    drawn()
    restore_generators(*states)
    assert drawn() == first


def test_a_seed_seeds_all_of_them():
    seed_generators(2**32 + 5)  # more than NumPy takes
    first = drawn()
    drawn()
    seed_generators(2**32 + 5)
    assert drawn() == first


def test_what_is_drawn_in_a_block_changes_nothing_after_it():
    seed_generators(1)
    first = drawn()
    seed_generators(1)
    try:
        with preserved_generators():
            drawn()
            raise RuntimeError("failed in between")
    except RuntimeError:
        pass
    assert drawn() == first
