"""Arrays by the names of other tools: mapped where there is one meaning, refused where there are two, never left out in silence."""

import numpy as np
import pytest

from crossreid.data.records import DataError
from crossreid.evaluation.array_names import meant_by, resolve
from crossreid.evaluation.arrays import read_side


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("camids", "cameras"), ("q_camids", "cameras"), ("gallery_cam", "cameras"), ("pids", "identities"),
        ("person_id", "identities"), ("feats", "embeddings"), ("features", "embeddings"), ("query_feat", "embeddings"),
        ("qf", "embeddings"), ("labels", "identities"), ("Frame-IDs", "frames"), ("img_paths", "names"),
        ("scores", None), ("timestamps", None),
    ],
)  # fmt: skip
def test_names_of_other_tools(name, array):
    assert meant_by(name) == array


def test_what_is_mapped_and_what_is_not_used_is_said():
    chosen, said = resolve(["feats", "pids", "cameras", "timestamps"], "f.npz")
    assert chosen == {"embeddings": "feats", "identities": "pids", "cameras": "cameras"}
    assert said == [
        "f.npz: feats is taken as embeddings.", "f.npz: pids is taken as identities.", "f.npz: not used: timestamps.",
    ]  # fmt: skip
    assert resolve(["embeddings", "features"], "f.npz")[1] == ["f.npz: not used: features (nearest: embeddings)."]


def test_two_of_one_meaning_and_misspelt_names_are_refused():
    with pytest.raises(DataError, match=r"f\.npz: pids and labels could each be identities"):
        resolve(["feats", "pids", "labels"], "f.npz")
    with pytest.raises(DataError, match="camras is unknown; did you mean cameras"):
        resolve(["embeddings", "identities", "camras"], "f.npz")
    with pytest.raises(DataError, match="camra is unknown; did you mean camera"):
        resolve(["identity", "camra"], "f.csv", columns=True)


def test_a_missing_array_is_named_beside_what_is_there(tmp_path):
    np.savez(tmp_path / "x.npz", feats=np.ones((2, 3)), who=np.arange(2))
    with pytest.raises(DataError, match=r"expected identities; found feats \(nearest: embeddings\), who"):
        read_side(tmp_path / "x.npz")


def test_what_a_guess_took_for_names_and_is_none_is_left_out(tmp_path):
    needed = {"embeddings": np.ones((2, 3)), "identities": np.arange(2)}
    np.savez(tmp_path / "x.npz", **needed, path="/some/folder", img_paths=np.array(["a", None], dtype=object))
    with pytest.raises(DataError, match="path and img_paths could each be names"):
        read_side(tmp_path / "x.npz")
    for extra in ({"path": "/some/folder"}, {"img_paths": np.array(["a", None], dtype=object)}):
        np.savez(tmp_path / "x.npz", **needed, **extra)
        side = read_side(tmp_path / "x.npz")
        assert side.names is None
        assert len(side.notes) == 2
    np.savez(tmp_path / "x.npz", **needed, names="/some/folder")
    with pytest.raises(DataError, match=r"expected one names value per embedding \(2\)"):
        read_side(tmp_path / "x.npz")


def test_files_of_other_tools_are_read(tmp_path):
    np.savez(tmp_path / "x.npz", feats=np.ones((3, 2)), q_pids=[7, 8, 9], q_camids=[0, 1, 2])
    side = read_side(tmp_path / "x.npz")
    assert side.identities.tolist() == ["7", "8", "9"]
    assert side.cameras.tolist() == [0, 1, 2]
    np.save(tmp_path / "y.npy", np.ones((3, 2)))
    (tmp_path / "y.csv").write_text("pid,camid,path\na,0,1.jpg\nb,,2.jpg\nc,2.0,3.jpg\n")
    side = read_side(tmp_path / "y.npy")
    assert (side.identities.tolist(), side.cameras.tolist(), side.names.tolist()) == (
        ["a", "b", "c"], [0, -1, 2], ["1.jpg", "2.jpg", "3.jpg"],
    )  # fmt: skip
