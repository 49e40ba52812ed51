"""Two files as one: cameras that count from 0, roles, and queries that would find themselves."""

import numpy as np
import pyarrow as pa
import pytest

from crossreid.data.records import DataError
from crossreid.evaluation.arrays import read_side
from crossreid.evaluation.external import rank
from crossreid.evaluation.features import Features, save
from crossreid.evaluation.joining import join
from crossreid.evaluation.procedure import evaluate
from embedded import write_folder

# Each query's nearest entry is of its identity and camera, which Market-1501 leaves out; the next is of another identity.
QUERY = {"embeddings": np.array([[0.0], [10.0]]), "identities": ["a", "b"], "cameras": [0, 1]}
GALLERY = {
    "embeddings": np.array([[0.1], [1.0], [3.0], [10.1], [11.0], [14.0]]), "identities": ["a", "b", "a", "b", "a", "b"],
    "cameras": [0, 1, 1, 1, 0, 0],
}  # fmt: skip


@pytest.fixture
def written(tmp_path):
    def write(query, gallery, names=("q", "g")):
        for name, values in zip(names, (query, gallery), strict=True):
            np.savez(tmp_path / f"{name}.npz", **{key: np.array(value) for key, value in values.items()})
        return tuple(tmp_path / f"{name}.npz" for name in names)

    return write


def ranked(files, protocol="market-1501", **options):
    said = []
    scores, _ = rank(*files, protocol, say=said.append, **options)
    return scores[0], " ".join(said)


def test_cameras_that_count_from_0_are_all_cameras(written):
    score, said = ranked(written(QUERY, GALLERY))
    assert score.rank(1) == 0
    assert "camera 0 occurs with 1 and is taken as a camera, not as unknown." in said
    assert score.exclusion == "same identity and same camera"
    moved = [{**side, "cameras": np.array(side["cameras"]) + 1} for side in (QUERY, GALLERY)]
    counted, said = ranked(written(*moved))
    assert counted.to_json() == score.to_json()
    assert said == ""


def test_a_single_camera_0_is_a_camera_where_the_other_file_has_more(written):
    query = {key: value[:1] for key, value in QUERY.items()}
    assert ranked(written(query, GALLERY))[0].rank(1) == 0


@pytest.mark.parametrize("cameras", [None, [0] * 2, [-1] * 2, ["", ""], [np.nan] * 2])
def test_a_protocol_of_cameras_refuses_files_without(written, cameras):
    query, gallery = dict(QUERY), dict(GALLERY)
    for side in (query, gallery):
        del side["cameras"]
        if cameras is not None:
            side["cameras"] = np.resize(cameras, len(side["identities"]))
    with pytest.raises(DataError, match=r"q\.npz: market-1501 needs cameras"):
        ranked(written(query, gallery))
    score, _ = ranked(written(query, gallery), "cross-modal")
    assert score.rank(1) == 1
    assert score.exclusion == "none (cameras are unknown; the rule: same identity and same camera)"


def test_unknown_cameras_are_counted_where_some_are_known(written):
    score, said = ranked(written({**QUERY, "cameras": [3, -1]}, {**GALLERY, "cameras": [3, 1, 1, 1, 2, 2]}))
    assert score.rank(1) == 0.5
    assert "1 of 2 cameras are unknown" in said
    assert score.exclusion == "same identity and same camera, where known (1 of 2 queries have no camera)"


def test_numbered_cameras_are_counted_from_1_or_refused(written):
    rng = np.random.default_rng(0)
    both = [
        {"embeddings": rng.normal(size=(8, 3)), "identities": np.arange(8) % 4, "cameras": np.resize(cameras, 8)}
        for cameras in ((2, 5), (0, 1, 3, 4))
    ]
    score, said = ranked(written(*both), "sysu-mm01")
    assert "Camera 0 is the protocol's camera 1" in said
    moved = [{**side, "cameras": side["cameras"] + 1} for side in both]
    assert ranked(written(*moved), "sysu-mm01")[0].to_json() == score.to_json()
    with pytest.raises(DataError, match="6 is one too many"):
        ranked(written({**both[0], "cameras": np.resize([3, 6], 8)}, both[1]), "sysu-mm01")


def own_features(count=12):
    rng, rows = np.random.default_rng(1), np.arange(count)
    return Features(
        embeddings=rng.normal(size=(count, 4)), identities=np.array([f"p{row % 3}" for row in rows]), cameras=rows % 3,
        modalities=np.zeros(count, np.int64), positions=rows // 3, names=np.array([f"{row}.jpg" for row in rows]),
        roles=np.where(rows < 4, "query", np.where(rows < 6, "both", "gallery")),
    )  # fmt: skip


def test_a_run_s_features_on_both_sides_score_as_the_run_does(tmp_path):
    features, file = own_features(), tmp_path / "features.npz"
    save(features, file)
    score, said = ranked((file, file), "cross-modal")
    assert score.to_json() == evaluate(features, "cross-modal")[0].to_json()
    assert "its roles say which rows are queries" in said
    assert read_side(file).cameras.min() == -1, "camera 0 of this project's own files is unknown"
    copy = tmp_path / "copy.npz"
    copy.write_bytes(file.read_bytes())
    other, said = ranked((file, copy), "cross-modal")
    assert other.mAP == score.mAP
    assert "6 of 12 rows are used" in said
    assert "2 of 6 queries are also in the gallery and do not find themselves" in said


def test_a_file_of_the_other_role_is_refused(tmp_path):
    features = own_features()
    save(features.take(features.roles == "query"), tmp_path / "queries.npz")
    save(features, tmp_path / "all.npz")
    with pytest.raises(DataError, match=r"queries\.npz: none of its 4 rows has the role gallery"):
        ranked((tmp_path / "all.npz", tmp_path / "queries.npz"), "cross-modal")


def test_the_same_vectors_on_both_sides_are_warned_of_and_left_out_if_asked(written):
    rng = np.random.default_rng(0)
    same = {"embeddings": rng.normal(size=(30, 4)), "identities": np.arange(30) % 3}
    files = written(same, same)
    score, said = ranked(files, "cross-modal")
    assert score.rank(1) == 1
    assert "WARNING: 30 of 30 queries have the same embedding as a gallery entry" in said
    honest, said = ranked(files, "cross-modal", leave_self_out=True)
    assert honest.rank(1) < 1
    assert "WARNING" not in said
    assert honest.exclusion.endswith("; the query itself")
    roles = Features(
        same["embeddings"], same["identities"].astype(str), np.zeros(30, int), np.zeros(30, int), np.arange(30),
        np.array([""] * 30), np.array(["both"] * 30),
    )  # fmt: skip
    assert honest.mAP == evaluate(roles, "cross-modal")[0].mAP
    known = {**same, "cameras": np.arange(30) % 5 + 1}
    assert "WARNING" not in ranked(written(known, known))[1], "Market-1501 leaves them out by their camera"


def test_modalities_that_are_assumed_are_said(written):
    said = []
    side = {"embeddings": np.eye(3), "identities": np.arange(3)}
    join(*map(read_side, written(side, side)), "regdb", say=said.append)
    assert "modalities are not given: queries are taken as visible, the gallery as infrared." in said


def test_folders_that_embed_wrote_are_read(tmp_path):
    write_folder(tmp_path / "some")
    with pytest.raises(DataError, match=r"some: 5 of 20 images have no identity, for example images/0\.jpg"):
        read_side(tmp_path / "some")
    names = pa.array([f"p{row % 4}" for row in range(20)])
    rows = write_folder(tmp_path / "all", table=lambda table: table.set_column(1, table.schema.field(1), names))
    side = read_side(tmp_path / "all")
    assert side.own
    assert side.cameras.tolist() == [camera or -1 for camera in np.arange(20) % 5]
    np.testing.assert_array_equal(side.embeddings, rows)
    score, said = ranked((tmp_path / "all", tmp_path / "all"), "cross-modal")
    assert "20 of 20 queries are also in the gallery and do not find themselves" in said
    assert score.rank(1) < 1
