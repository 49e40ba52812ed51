"""Features: built from records, checked by name, saved and loaded unchanged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from crossreid.data.records import INFRARED, VISIBLE, DataError, Record
from crossreid.evaluation.features import Features, features_of, load, save

RECORDS = [
    Record(Path("b/2.jpg"), "10", 1, VISIBLE),
    Record(Path("b/1.jpg"), "10", 1, VISIBLE),
    Record(Path("a/1.jpg"), "9", 3, INFRARED),
    Record(Path("a/2.jpg"), "x", 0, INFRARED),
]


def fields(count=3, **change):
    whole = {
        "embeddings": np.arange(2.0 * count).reshape(count, 2),
        "identities": np.array(["a", "b", "c"][:count]),
        "cameras": np.zeros(count, dtype=np.int64),
        "modalities": np.zeros(count, dtype=np.int64),
        "positions": np.zeros(count, dtype=np.int64),
        "names": np.array([""] * count),
        "roles": np.array(["both"] * count),
    }
    return whole | change


def test_rows_are_in_canonical_order_with_positions_and_roles():
    embeddings = {record: np.array([float(row), 1.0]) for row, record in enumerate(RECORDS)}
    features = features_of(RECORDS[2:], RECORDS[:3], embeddings)
    assert features.identities.tolist() == ["9", "10", "10", "x"]
    assert features.names.tolist() == ["a/1.jpg", "b/1.jpg", "b/2.jpg", "a/2.jpg"]
    assert features.positions.tolist() == [0, 0, 1, 0]
    assert features.roles.tolist() == ["both", "gallery", "gallery", "query"]
    assert features.modalities.tolist() == [1, 0, 0, 1]
    assert features.embeddings[:, 0].tolist() == [2.0, 1.0, 0.0, 3.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_may_come_as_one_tensor_in_that_order(dtype):
    features = features_of(RECORDS[2:], RECORDS[:2], torch.arange(8, dtype=dtype).view(4, 2).requires_grad_())
    assert features.embeddings[:, 0].tolist() == [0.0, 2.0, 4.0, 6.0]
    assert features.embeddings.dtype == (np.float64 if dtype == torch.float64 else np.float32)


def test_records_without_embeddings_are_refused():
    with pytest.raises(DataError, match=r"no embedding for a/2.jpg \(missing for 1 of 2"):
        features_of(RECORDS[2:], [], {RECORDS[2]: np.ones(2)})
    with pytest.raises(DataError, match="expected 2 embeddings, one per image, found 3"):
        features_of(RECORDS[2:], [], np.ones((3, 2)))
    with pytest.raises(DataError, match="both empty"):
        features_of([], [], np.ones((0, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": np.array([[1.0], [np.nan], [2.0]])}, "NaN in row 1"),
        ({"embeddings": np.ones(3)}, r"expected an array \(N, D\)"),
        ({"embeddings": np.array([["a"], ["b"], ["c"]])}, "features: "),
        ({"cameras": np.zeros(2, dtype=int)}, r"one cameras value per embedding \(3\), found shape \(2,\)"),
        ({"cameras": np.zeros(3)}, "expected cameras as whole numbers, found float64"),
        ({"cameras": np.array([-1, 0, 0])}, "must not be negative"),
        ({"identities": np.arange(3)}, "expected identities as text"),
        ({"roles": np.array(["query", "probe", "both"])}, "roles must be .* found .*probe"),
        ({"modalities": np.array([0, 1, 2])}, "modalities must be"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(DataError, match=message):
        Features(**fields(**change))


def test_save_and_load_round_trip(tmp_path):
    before = Features(**fields(identities=np.array(["é", "person 12", "3"])))
    save(before, tmp_path / "deep" / "features.npz")
    after = load(tmp_path / "deep" / "features.npz")
    for name in fields():
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        assert getattr(before, name).dtype == getattr(after, name).dtype
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["features.npz"]


def test_damaged_files_are_refused_by_name(tmp_path):
    save(Features(**fields()), tmp_path / "whole.npz")
    content = (tmp_path / "whole.npz").read_bytes()
    cases = {"empty.npz": b"", "text.npz": b"hello", "cut.npz": content[: len(content) // 2]}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=name):
            load(tmp_path / name)
    np.savez(tmp_path / "part.npz", embeddings=np.ones((1, 2)))
    with pytest.raises(DataError, match="missing: identities, cameras"):
        load(tmp_path / "part.npz")
    np.savez(tmp_path / "pickled.npz", **fields(names=np.array([None, None, None], dtype=object)))
    with pytest.raises(DataError, match=r"pickled\.npz"):
        load(tmp_path / "pickled.npz")
    with pytest.raises(DataError, match="not found"):
        load(tmp_path / "absent.npz")


def test_parts_of_one_picture_have_names_and_an_order_of_their_own():
    boxes = [(0, 0, 9, 9), (3, 0, 9, 9), None]
    records = [Record(Path("p.jpg"), "x", 1, box=box) for box in boxes]
    features = features_of(records[:1], records[1:], {record: np.array([1.0, k]) for k, record in enumerate(records)})
    assert features.names.tolist() == ["p.jpg", "p.jpg#xywh=0,0,9,9", "p.jpg#xywh=3,0,6,9"]
    assert features.embeddings[:, 1].tolist() == [2, 0, 1]
    assert features.roles.tolist() == ["gallery", "query", "gallery"]
