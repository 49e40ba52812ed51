"""From features and folders of embeddings into a gallery; its ranking against that of the evaluation."""

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

from crossreid.data.records import INFRARED, VISIBLE, DataError
from crossreid.evaluation.distances import distances
from crossreid.evaluation.procedure import evaluate
from crossreid.galleries import (
    Filter,
    GalleryError,
    ModelMismatch,
    add_features,
    add_folder,
    entries_of_features,
    importing,
    open_gallery,
)
from crossreid.galleries.errors import GalleryFault
from crossreid.galleries.fragments import path_and_box
from crossreid.inference.embedding_files import EMBEDDINGS, RECORDS, read_embeddings
from embedded import MODEL, features, write_folder


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


def test_boxes_of_one_picture_are_entries_of_their_own(tmp_path):
    def box(row):
        return (row, 2, row + 10, 30) if row else None  # and the picture itself

    write_folder(tmp_path / "folder", box=box)
    assert read_embeddings(tmp_path / "folder").boxes.tolist() == [box(row) for row in range(20)]
    with open_gallery(tmp_path / "gallery", model=MODEL, dimension=6) as gallery:
        assert add_folder(gallery, tmp_path / "folder") == len(gallery) == 20
        names = ["images/film.jpg", *(f"images/film.jpg#xywh={row},2,10,28" for row in range(1, 20))]
        assert [entry.source for entry in gallery.get(names)] == names
        assert [path_and_box(name) for name in names] == [("images/film.jpg", box(row)) for row in range(20)]


@pytest.mark.parametrize("suffix", ["", ".db"])
def test_ids_that_are_there_are_found_before_anything_is_added(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(importing, "_PART", 50)
    whole = features()
    with open_gallery(tmp_path / f"gallery{suffix}", model=MODEL, dimension=24) as gallery:
        gallery.add(entries_of_features(whole).rows(slice(110, 112)))
        with pytest.raises(GalleryError, match=r"the id '0135.jpg' and 1 more is already in the gallery; nothing was"):
            add_features(gallery, whole, model=MODEL)
        assert len(gallery) == 2
        assert add_features(gallery, whole, model=MODEL, replace=True) == len(gallery) == 120


def test_what_fails_in_a_later_part_says_how_much_was_added(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "_PART", 50)
    with open_gallery(tmp_path / "gallery", model=MODEL, dimension=600) as gallery:
        writer = gallery._store.database._writer

        def full(done, total):
            pages = writer.execute("PRAGMA page_count").fetchone()[0]
            writer.execute(f"PRAGMA max_page_count={pages}")  # as a full disk

        with pytest.raises(
            GalleryFault, match=r"nothing of this was kept\. Before that, 50 of 120 were added; with --upsert"
        ):
            add_features(gallery, features(dimension=600), advance=full)
        assert len(gallery) == 50


def cast(name, kind):
    def changed(table):
        place = table.column_names.index(name)
        return table.set_column(place, name, table[name].cast(kind))

    return changed


def with_value(name, value):
    """The records with another value in their first row."""

    def changed(table):
        values = [value, *table[name].to_pylist()[1:]]
        field = table.schema.field(name)
        return table.set_column(table.column_names.index(name), field, pa.array(values, field.type))

    return changed


def test_files_that_are_not_as_expected_are_named(tmp_path):
    write_folder(tmp_path / "anonymous", model=None)
    write_folder(tmp_path / "twice", table=with_value("path", "images/3.jpg"))
    write_folder(tmp_path / "light", table=with_value("modality", "ultraviolet"))
    write_folder(tmp_path / "triangle", table=with_value("box", [1, 2, 3]))
    write_folder(tmp_path / "inside out", table=with_value("box", [5, 2, 3, 9]))
    write_folder(tmp_path / "poor", table=lambda table: table.drop_columns(["camera"]))
    write_folder(tmp_path / "rich", table=lambda table: table.append_column("mood", table["path"]))
    write_folder(tmp_path / "text", table=cast("time", pa.string()))
    write_folder(tmp_path / "cut")
    (tmp_path / "cut" / EMBEDDINGS).write_bytes(b"cut")
    write_folder(tmp_path / "torn")
    (tmp_path / "torn" / RECORDS).write_bytes(b"PAR1")
    write_folder(tmp_path / "lost")
    (tmp_path / "lost" / RECORDS).unlink()
    write_folder(tmp_path / "uneven", table=lambda table: table.slice(1))
    write_folder(tmp_path / "mixed")  # with records of another writing, of the same images
    write_folder(tmp_path / "other", table=with_value("identity", "p2"))
    (tmp_path / "other" / RECORDS).replace(tmp_path / "mixed" / RECORDS)
    (tmp_path / "elsewhere").mkdir()
    save_file(
        {"embeddings": np.eye(6, dtype=np.float32)}, tmp_path / "elsewhere" / EMBEDDINGS, metadata={"model": MODEL}
    )
    with open_gallery(tmp_path / "gallery", model=MODEL, dimension=6) as gallery:
        for name, said in (
            ("none", "embeddings.safetensors not found"),
            ("anonymous", "expected the fingerprint"),
            ("twice", "id 'images/3.jpg' is given twice"),
            ("light", r"row 0: expected a modality \(visible, infrared\) .* found 'ultraviolet'"),
            ("triangle", r"row 0: .* a box of four numbers or none, .*\[1, 2, 3\]"),
            ("inside out", r"images/0.jpg: expected a box .* found \(5, 2, 3, 9\)"),
            ("poor", "expected .*camera: int64 not null>, found .*modality: string not null>"),
            ("rich", "expected no more columns, found .*mood: string"),
            ("text", r"expected .*time: timestamp\[us, tz=UTC\]>, found .*time: string>"),
            ("cut", "embeddings.safetensors is damaged"),
            ("torn", "torn: .*embed again"),
            ("lost", "records.parquet"),
            ("uneven", r"one per record \(19\); found float32 \(20, 6\)"),
            ("mixed", "records.parquet is not the one written with embeddings.safetensors"),
            ("elsewhere", "was not written by `crossreid embed`"),
        ):
            with pytest.raises(DataError, match=said):
                add_folder(gallery, tmp_path / name)
        assert len(gallery) == 0
        with pytest.raises(DataError, match="no image has the role gallery"):
            add_features(gallery, features().take(np.arange(5)), roles=["gallery"])
