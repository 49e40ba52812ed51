"""What is added to galleries, small: features of an evaluated run, and a folder as `crossreid embed` writes it."""

from pathlib import Path

import numpy as np

from crossreid.data.records import Modality, Record
from crossreid.evaluation.features import Features
from crossreid.inference.embedding_files import (
    EMBEDDINGS,
    FORMAT,
    RECORDS,
    as_metadata,
    table_of,
    write_rows,
    write_table,
)

MODEL = "c0de" * 16


def features(queries=25, entries=120, dimension=24, people=10):
    rng = np.random.default_rng(2)
    count = queries + entries
    who = rng.integers(0, people, count)
    rows = rng.standard_normal((people, dimension))[who] + rng.standard_normal((count, dimension))
    rows[queries + 60 : queries + 90] = rows[
        queries : queries + 30
    ]  # equal distances, to be ordered by the gallery's order
    rows[-5:] = rows[:5]  # and entries that equal their queries
    return Features(
        embeddings=rows.astype(np.float32),
        identities=np.array([f"p{number}" for number in who]),
        cameras=np.where(np.arange(count) < queries, 1, 2 + np.arange(count) % 2),
        modalities=np.where(np.arange(count) < queries, 1, 0),
        positions=np.arange(count),
        names=np.array([f"{row:04}.jpg" for row in range(count)]),
        roles=np.array(["query"] * queries + ["gallery"] * entries),
    )


def write_folder(folder, count=20, dimension=6, model=MODEL, *, box=None, table=None, **about):
    """As `crossreid embed` writes: its own writers, other contents. `table` changes the records before they are written.

    `about` is more that the metadata say.
    """
    folder.mkdir()
    rows = np.random.default_rng(1).standard_normal((count, dimension)).astype(np.float32)
    records = [
        Record(
            Path(f"images/{row}.jpg" if box is None else "images/film.jpg"), "" if row % 4 == 0 else f"p{row % 3}", row % 5,
            Modality(row % 2), time=None if row % 3 else 1.7e9 + row, box=box(row) if box else None,
        )
        for row in range(count)
    ]  # fmt: skip
    written = table_of(records)
    digest = write_table(table(written) if table else written, folder / RECORDS)
    about |= {"format": FORMAT, "records": digest, "rows": count} | ({"model": model} if model else {})
    write_rows(folder / EMBEDDINGS, [rows[:7], rows[7:]], rows.shape, as_metadata(about))
    return rows
