"""Embeddings of the same images are matched by path, whatever their order; what is not of the same images is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.records import DataError
from crossreid.evaluation.features import load, save
from crossreid.fusion.aligning import read_aligned
from embedded import write_folder


def changed(path: Path, out: Path, rows=None, **values) -> Path:
    """A copy of features with other rows or values."""
    features = load(path)
    given = {name: np.broadcast_to(np.array(value), len(features)) for name, value in values.items()}
    features = replace(features, **given)
    save(features if rows is None else features.take(np.asarray(rows)), out)
    return out


def test_rows_are_brought_into_the_order_of_the_first(coats, tmp_path):
    order = np.random.default_rng(0).permutation(len(load(coats.tested["b"])))
    other = changed(coats.tested["b"], tmp_path / "b.npz", order)
    straight = read_aligned([coats.tested["a"], coats.tested["b"]], [], "cross-modal")
    shuffled = read_aligned([coats.tested["a"], other], [], "cross-modal")
    np.testing.assert_array_equal(straight.embeddings[1], shuffled.embeddings[1])
    np.testing.assert_array_equal(straight.embeddings[0], load(coats.tested["a"]).embeddings)


def test_query_and_gallery_may_be_files_of_their_own(coats, tmp_path):
    sides = {}
    for network in "ab":
        for role, rows in (("query", slice(None, None, 4)), ("gallery", slice(1, None, 4))):
            own = np.arange(48)[rows]
            sides[network, role] = changed(coats.tested[network], tmp_path / f"{network}{role}.npz", own, roles=role)
    found = read_aligned(
        [sides["a", "query"], sides["b", "query"]], [sides["a", "gallery"], sides["b", "gallery"]], "cross-modal"
    )
    assert found.features.roles.tolist() == ["query"] * 12 + ["gallery"] * 12
    with pytest.raises(DataError, match="2 files of query embeddings and 1 of gallery"):
        read_aligned([sides["a", "query"], sides["b", "query"]], [sides["a", "gallery"]], "cross-modal")


def test_parts_of_one_picture_are_told_apart_by_their_boxes(tmp_path):
    write_folder(tmp_path / "e", count=5, box=lambda row: (row, 0, row + 8, 8), table=_all_known)
    found = read_aligned([tmp_path / "e"], [], "cross-modal")
    assert found.boxes["images/film.jpg#3,0,11,8"] == ("images/film.jpg", (3, 0, 11, 8))


def _all_known(table):
    import pyarrow as pa

    at = table.schema.get_field_index("identity")
    return table.set_column(at, table.schema.field(at), pa.array([f"p{row % 3}" for row in range(len(table))]))


def test_other_images_other_identities_and_images_without_names_are_refused(coats, tmp_path):
    first = coats.tested["a"]
    fewer = changed(coats.tested["b"], tmp_path / "fewer.npz", np.arange(40))
    for pair in ([first, fewer], [fewer, first]):
        with pytest.raises(DataError, match=r"fewer.npz lacks 8 of the 48 images of .*a.npz, 10/0.png for example"):
            read_aligned(pair, [], "cross-modal")
    who = load(first).identities.astype(object)
    who[3] = "somebody"
    others = changed(coats.tested["b"], tmp_path / "others.npz", identities=who.astype(str))
    with pytest.raises(DataError, match=r"0/3.png: .* differ in identities, 0 and somebody"):
        read_aligned([first, others], [], "cross-modal")
    twice = changed(coats.tested["b"], tmp_path / "twice.npz", [0, 0, 1])
    with pytest.raises(DataError, match=r"0/0.png twice"):
        read_aligned([twice, twice], [], "cross-modal")
    nameless = changed(coats.tested["b"], tmp_path / "nameless.npz", names="")
    with pytest.raises(DataError, match="does not name its images"):
        read_aligned([first, nameless], [], "cross-modal")


def test_a_user_sees_one_line(coats, tmp_path):
    fewer = changed(coats.tested["b"], tmp_path / "fewer.npz", np.arange(40))
    known = [part for file in coats.known.values() for part in ("--calibrate-on", str(file))]
    result = CliRunner().invoke(
        app, ["fuse", str(coats.tested["a"]), str(fewer), *known, "--protocol", "single-modality"]
    )
    assert "lacks 8 of the 48 images" in str(result.exception)
    assert "\n" not in str(result.exception)
