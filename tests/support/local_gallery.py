"""A gallery in process with entries that are drawn, as the tests of `galleries/local` change it."""

import sqlite3
from contextlib import closing

import numpy as np

from crossreid.galleries import Entries, open_gallery

MODEL, DIMENSION = "ab" * 32, 16


def vectors(count, seed=0, dimension=DIMENSION):
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def names(count, start=0):
    return [f"{row:05}" for row in range(start, start + count)]


def create(location, count=0, index="exact", **more):
    gallery = open_gallery(location, model=MODEL, dimension=DIMENSION, index=index)
    if count:
        gallery.add(Entries(vectors(count), ids=names(count), **more))
    return gallery


def indexes_of(location):
    return sorted(path.name for path in location.iterdir() if path.name.startswith("index-"))


def change(location, statement, *values):
    with closing(sqlite3.connect(location / "gallery.sqlite", isolation_level=None)) as connection:
        connection.execute(statement, values)
