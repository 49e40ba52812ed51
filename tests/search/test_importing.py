"""From features and folders of embeddings into a gallery; its ranking against that of the evaluation."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from safetensors.numpy import save_file

from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.evaluation.distances import distances
from crossreid.evaluation.features import Features
from crossreid.evaluation.protocols import evaluate
from crossreid.search import Filter, ModelMismatch, add_features, add_folder, open_gallery

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


def test_exact_search_ranks_as_the_evaluation_does(tmp_path):
    whole = features()
    asking = whole.roles == "query"
    with open_gallery(tmp_path / "gallery", model=MODEL, dimension=24) as gallery:
        assert add_features(gallery, whole, model=MODEL) == 120
        found = gallery.search(whole.embeddings[asking], 120, model=MODEL)
        narrowed = gallery.search(whole.embeddings[asking], 120, Filter(cameras=(3,)))
    apart = distances(whole.embeddings[asking], whole.embeddings[~asking], "cosine").numpy()
    names = whole.names[~asking]
    for row, matches in enumerate(found):
        order = np.argsort(apart[row], kind="stable")  # ties in the gallery's order, which is that of the ids here
        assert list(matches.ids) == names[order].tolist()
        np.testing.assert_allclose(1 - matches.scores, apart[row][order], atol=2e-6)
        kept = order[whole.cameras[~asking][order] == 3]
        assert list(narrowed[row].ids) == names[kept].tolist()
    # And so do rank-1 and mAP, counted here from what was found.
    score = evaluate(whole, "cross-modal", metric="cosine")
    score = score[0] if isinstance(score, list) else score
    precisions, first = [], []
    for identity, matches in zip(whole.identities[asking], found, strict=True):
        hits = np.array([entry.identity == identity for entry in matches.entries])
        first.append(hits[0])
        precisions.append(np.mean(np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)))
    assert score.mAP == pytest.approx(np.mean(precisions))
    assert score.rank(1) == pytest.approx(np.mean(first))


def write_folder(folder, count=20, dimension=6, model=MODEL, **columns):
    """As `crossreid embed` writes."""
    folder.mkdir()
    rows = np.random.default_rng(1).standard_normal((count, dimension)).astype(np.float32)
    save_file({"embeddings": rows}, folder / "embeddings.safetensors", metadata={"model": model} if model else {})
    records = {
        "path": [f"images/{row}.jpg" for row in range(count)],
        "identity": [None if row % 4 == 0 else f"p{row % 3}" for row in range(count)],
        "camera": [row % 5 for row in range(count)],
        "modality": ["infrared" if row % 2 else "visible" for row in range(count)],
        "time": [None if row % 3 else 1.7e9 + row for row in range(count)],
        "tracklet": [None] * count,
        "frame": [-1] * count,
    }
    records |= columns
    table = pa.table({name: values for name, values in records.items() if values is not None})
    parquet.write_table(table, folder / "records.parquet")
    return rows


def test_a_folder_of_embeddings_becomes_entries(tmp_path):
    rows = write_folder(tmp_path / "folder")
    with open_gallery(tmp_path / "gallery", model=MODEL, dimension=6) as gallery:
        told = []
        assert add_folder(gallery, tmp_path / "folder", advance=lambda done, total: told.append((done, total))) == 20
        assert told == [(20, 20)]
        entries = gallery.get([f"images/{row}.jpg" for row in range(20)])
        for row, entry in enumerate(entries):
            np.testing.assert_allclose(entry.embedding, rows[row] / np.linalg.norm(rows[row]), atol=1e-6)
            assert entry.identity == (None if row % 4 == 0 else f"p{row % 3}")
            assert (entry.camera, entry.modality) == (row % 5, INFRARED if row % 2 else VISIBLE)
            assert entry.time == (None if row % 3 else 1.7e9 + row)
            assert entry.source == entry.id
        assert add_folder(gallery, tmp_path / "folder", replace=True) == len(gallery) == 20
        write_folder(tmp_path / "other", model="another")
        with pytest.raises(ModelMismatch, match=f"{MODEL}.*another"):
            add_folder(gallery, tmp_path / "other", replace=True)


@pytest.mark.parametrize("unit", ["s", "us", "text"])
def test_times_may_be_numbers_timestamps_or_text(tmp_path, unit):
    seconds = 1795255200  # 2026-11-21 10:00 UTC
    times = pa.array(["2026-11-21T10:00:00Z"] * 20)
    if unit != "text":
        times = pa.array([seconds * (1 if unit == "s" else 10**6)] * 20).cast(pa.timestamp(unit))
    write_folder(tmp_path / "folder", time=times)
    with open_gallery(tmp_path / "gallery", model=MODEL, dimension=6) as gallery:
        add_folder(gallery, tmp_path / "folder")
        assert gallery.get(["images/3.jpg"])[0].time == seconds


def test_files_that_are_not_as_expected_are_named(tmp_path):
    with open_gallery(tmp_path / "gallery", model=MODEL, dimension=6) as gallery:
        write_folder(tmp_path / "anonymous", model=None)
        write_folder(tmp_path / "short", path=["a"] * 20)
        write_folder(tmp_path / "light", modality=["ultraviolet"] * 20)
        write_folder(tmp_path / "poor", camera=None)
        write_folder(tmp_path / "cut")
        (tmp_path / "cut" / "embeddings.safetensors").write_bytes(b"cut")
        write_folder(tmp_path / "torn")
        (tmp_path / "torn" / "records.parquet").write_bytes(b"PAR1")
        write_folder(tmp_path / "uneven")
        write_folder(tmp_path / "twenty-one", count=21)
        (tmp_path / "twenty-one" / "records.parquet").replace(tmp_path / "uneven" / "records.parquet")
        for name, said in (
            ("none", "embeddings.safetensors not found"),
            ("anonymous", "expected the fingerprint"),
            ("short", "id 'a' is given twice"),
            ("light", "expected visible or infrared"),
            ("poor", r"missing: \['camera'\]"),
            ("cut", "embeddings.safetensors cannot be read"),
            ("torn", "records.parquet cannot be read"),
            ("uneven", "20 embeddings and 21 records"),
        ):
            with pytest.raises(DataError, match=said):
                add_folder(gallery, tmp_path / name)
        assert len(gallery) == 0
        with pytest.raises(DataError, match="no image has the role gallery"):
            add_features(gallery, features().take(np.arange(5)), roles=["gallery"])
