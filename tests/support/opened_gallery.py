"""The model and the embeddings of the galleries that the fixture `opened` opens."""

import numpy as np

MODEL, DIMENSION = "5e1f" * 16, 8


def vectors(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, DIMENSION))
