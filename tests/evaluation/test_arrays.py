import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from crossreid.data.records import DataError
from crossreid.evaluation.arrays import read_side
from crossreid.evaluation.joining import join
from crossreid.evaluation.procedure import evaluate


def columns(count=6, seed=0, dimensions=4):
    rng = np.random.default_rng(seed)
    return {
        "embeddings": rng.normal(size=(count, dimensions)).astype(np.float32),
        "identities": np.array([f"p{i % 3}" for i in range(count)]),
        "cameras": np.arange(count) % 2 + 1,
        "modalities": np.arange(count) % 2,
        "frames": np.arange(count),
    }


def write(folder, kind, values):
    path = folder / f"side.{kind}"
    if kind == "npz":
        np.savez(path, **values)
    elif kind == "safetensors":
        arrays = {name: value for name, value in values.items() if value.dtype.kind != "U"}
        save_file(arrays, path, metadata={"identities": json.dumps(values["identities"].tolist())})
    else:
        np.save(path, values["embeddings"])
        names = ("identity", "camera", "modality", "frame")
        lines = [",".join(names)]
        kinds = ("visible", "infrared")
        for i, c, m, f in zip(*(values[n] for n in ("identities", "cameras", "modalities", "frames")), strict=True):
            lines.append(f"{i},{c},{kinds[m]},{f}")
        path.with_suffix(".csv").write_text("\r\n".join(lines), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("kind", ["npz", "npy", "safetensors"])
def test_every_arrangement_gives_the_same(tmp_path, kind):
    values = columns()
    side = read_side(write(tmp_path, kind, values))
    for name, value in values.items():
        np.testing.assert_array_equal(getattr(side, name), value)


def test_only_embeddings_and_identities_are_needed(tmp_path):
    values = columns()
    np.savez(tmp_path / "a.npz", embeddings=values["embeddings"], identities=np.arange(6))
    side = read_side(tmp_path / "a.npz")
    features = join(side, side, "regdb")
    assert features.modalities.tolist() == [0] * 6 + [1] * 6, "as the protocol's first setting has them"
    assert features.cameras.tolist() == [0] * 12
    assert evaluate(features, "regdb")[0].rank(1) == 1
    assert join(side, side, "cross-modal").modalities.tolist() == [0] * 12


def test_ties_go_by_the_order_of_the_gallery_file(tmp_path):
    same = np.ones((3, 2))
    np.savez(tmp_path / "q.npz", embeddings=same[:1], identities=["b"])
    np.savez(tmp_path / "g.npz", embeddings=same, identities=["c", "b", "a"])
    features = join(read_side(tmp_path / "q.npz"), read_side(tmp_path / "g.npz"), "cross-modal")
    assert evaluate(features, "cross-modal")[0].cmc.tolist() == [0, 1, 1]


def test_identities_as_floating_point_are_the_whole_numbers_that_they_are(tmp_path):
    np.savez(tmp_path / "x.npz", **columns() | {"identities": np.array([-1.0, 0.0, 7.0, 1501.0, 2.0, 2.0])})
    assert read_side(tmp_path / "x.npz").identities.tolist() == ["-1", "0", "7", "1501", "2", "2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": None}, "expected embeddings; found cameras, frames, identities, modalities"),
        ({"identities": None}, "expected identities"),
        ({"identities": np.arange(5)}, r"one identities value per embedding \(6\), found shape \(5,\)"),
        ({"identities": np.arange(6) + 0.5}, "expected identities as text or whole numbers, found 0.5"),
        ({"identities": np.full(6, np.nan)}, "expected identities as text or whole numbers, found nan"),
        ({"cameras": np.array(list("abcdef"))}, "expected cameras as whole numbers, found"),
        ({"cameras": np.arange(6) + 0.5}, "expected cameras as whole numbers"),
        (
            {"modalities": np.array(["thermal"] * 6)},
            "expected modalities visible / infrared or 0 / 1, found 'thermal'",
        ),
        ({"embeddings": np.full((6, 2), np.nan)}, "NaN in row 0"),
        ({"embeddings": np.zeros((0, 2)), "identities": np.zeros(0)}, "at least one row"),
        ({"embeddings": np.zeros(6)}, r"expected an array \(N, D\), found shape \(6,\)"),
        ({"embeddings": np.array([["x"]] * 6)}, "embeddings are not numbers"),
        ({"identities": np.array(["a", 1, None, 2, 3, 4], dtype=object)}, "text must have a fixed width"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, change, message):
    values = {name: value for name, value in {**columns(), **change}.items() if value is not None}
    np.savez(tmp_path / "x.npz", **values)
    with pytest.raises(DataError, match=message) as refusal:
        read_side(tmp_path / "x.npz")
    assert "x.npz" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_files_that_are_not_what_their_names_say(tmp_path):
    with pytest.raises(DataError, match=r"expected a file ending in \.npz, \.npy, \.safetensors"):
        read_side(tmp_path / "x.mat")
    for kind in ("npz", "npy", "safetensors"):
        with pytest.raises(DataError, match="not found"):
            read_side(tmp_path / f"x.{kind}")
        (tmp_path / f"x.{kind}").write_bytes(b"PK\x03\x04 nothing")
        (tmp_path / "x.csv").write_text("identity\n")
        with pytest.raises(DataError, match=rf"x\.{kind}"):
            read_side(tmp_path / f"x.{kind}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\na\nb\n", "expected a column identity; found name"),
        ("identity\na\n", "1 rows for 2 embeddings"),
        ("identity,camera\na\nb,2\n", "different numbers of columns"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path, text, message):
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    with pytest.raises(DataError, match=r"x\.csv not found"):
        read_side(tmp_path / "x.npy")
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_side(tmp_path / "x.npy")


def test_sides_that_do_not_fit_are_named(tmp_path):
    for name, dimensions in (("a", 4), ("b", 5)):
        values = columns(dimensions=dimensions)
        np.savez(tmp_path / f"{name}.npz", embeddings=values["embeddings"], identities=values["identities"])
    one, other = read_side(tmp_path / "a.npz"), read_side(tmp_path / "b.npz")
    with pytest.raises(DataError, match=r"a\.npz has 4 dimensions and .*b\.npz 5"):
        join(one, other, "regdb")
    with pytest.raises(DataError, match=r"a\.npz: sysu-mm01 needs cameras"):
        join(one, one, "sysu-mm01")
    with pytest.raises(DataError, match="atrw-plain needs"):
        join(one, one, "atrw-plain")
    with pytest.raises(DataError, match="unknown protocol 'mars2'"):
        join(one, one, "mars2")
