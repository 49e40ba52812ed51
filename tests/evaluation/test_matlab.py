"""The official arrangement of features: read, written, scored, and refused in one clear line."""

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from crossreid.data.records import DataError
from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.matlab import evaluate_sysu_features, read_identities, read_sysu_features, write_sysu_features
from crossreid.evaluation.procedure import evaluate

CAMERAS = range(1, 7)
COUNTS = {1: 3, 2: 2, 3: 4, 4: 12, 5: 1, 6: 2}


def cells(by_identity, count=9, column=False):
    made = np.empty((count, 1) if column else (1, count), dtype=object)
    for place in range(count):
        made.ravel()[place] = by_identity.get(place + 1, np.empty((0, 0)))
    return made


@pytest.fixture
def arrangement(tmp_path):
    """Features of identities 2, 5, 9 (5 not in camera 2), splits, permutations, and the arrays as they were drawn."""
    rng = np.random.default_rng(0)
    folder, splits = tmp_path / "features", tmp_path / "splits"
    folder.mkdir()
    splits.mkdir()
    drawn = {}
    permutations = np.empty((6, 1), dtype=object)
    for camera in CAMERAS:
        for identity in (1, 2, 5, 9):
            if (identity, camera) != (5, 2):
                drawn[identity, camera] = rng.normal(size=(COUNTS[camera], 5)) + identity / 4
        here = {identity: array for (identity, c), array in drawn.items() if c == camera}
        savemat(folder / f"feat_cam{camera}.mat", {"feature": cells(here, column=camera % 2 == 0)})
        orders = {i: np.array([rng.permutation(len(a)) + 1 for _ in range(10)]) for i, a in here.items()}
        permutations[camera - 1, 0] = cells(orders, column=True)
    savemat(splits / "rand_perm_cam.mat", {"rand_perm_cam": permutations})
    (splits / "test_id.txt").write_text("2,9,5\r\n")
    return folder, splits, drawn


def test_rows_are_the_cells_of_the_test_identities_in_canonical_order(arrangement):
    folder, splits, drawn = arrangement
    features = read_sysu_features(folder, splits)
    groups = [(i, c) for i in (2, 5, 9) for c in CAMERAS if (i, c) in drawn]
    np.testing.assert_array_equal(features.embeddings, np.concatenate([drawn[group] for group in groups]))
    assert features.identities.tolist() == [str(i) for i, c in groups for _ in range(COUNTS[c])]
    assert features.cameras.tolist() == [c for _, c in groups for _ in range(COUNTS[c])]
    assert set(features.cameras[features.modalities == 1]) == {3, 6}


def test_reading_float32_keeps_it_and_feature_test_will_do(arrangement):
    folder, splits, drawn = arrangement
    for camera in CAMERAS:
        here = {i: array.astype(np.float32) for (i, c), array in drawn.items() if c == camera}
        savemat(folder / f"feat_cam{camera}.mat", {"feature_test": cells(here)})
    features = read_sysu_features(folder, splits)
    assert features.embeddings.dtype == np.float32


@pytest.mark.parametrize(("mode", "shots"), [("all", 1), ("all", 10), ("indoor", 1), ("indoor", 10)])
def test_score_is_that_of_the_features_by_the_protocol(arrangement, mode, shots):
    folder, splits, drawn = arrangement
    score = evaluate_sysu_features(folder, splits, mode, shots)
    assert score.setting == f"{mode}, {'single' if shots == 1 else 'multi'}-shot"
    assert (score.gallery_draw, score.metric, len(score.trials)) == ("official permutations", "euclidean", 10)

    # From the definition, trial by trial, straight from the arrays.
    raw = loadmat(splits / "rand_perm_cam.mat")["rand_perm_cam"]
    for trial, got in enumerate(score.trials):
        gallery = []
        for camera in (1, 2, 4, 5) if mode == "all" else (1, 2):
            for identity in (2, 5, 9):
                if (identity, camera) in drawn:
                    order = raw[camera - 1, 0][identity - 1, 0][trial]
                    gallery += [(identity, camera, drawn[identity, camera][place - 1]) for place in order[:shots]]
        hits, precisions = 0, []
        queries = [(i, c, row) for i in (2, 5, 9) for c in (3, 6) for row in drawn[i, c]]
        for identity, camera, row in queries:
            kept = [(np.linalg.norm(row - g), i) for i, c, g in gallery if not (camera == 3 and c == 2)]
            names = [i for _, i in sorted(kept, key=lambda pair: pair[0])]
            hits += names[0] == identity
            ranks = [r for r, name in enumerate(names, start=1) if name == identity]
            precisions.append(np.mean([(n + 1) / r for n, r in enumerate(ranks)]))
        assert got.rank(1) == pytest.approx(hits / len(queries), abs=1e-12)
        assert got.mAP == pytest.approx(np.mean(precisions), abs=1e-12)


def test_without_permutations_the_draw_is_seeded_and_says_so(arrangement):
    folder, splits, _ = arrangement
    (splits / "rand_perm_cam.mat").unlink()
    assert evaluate_sysu_features(folder, splits, seed=4).gallery_draw == "seeded draw (seed 4)"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_write_then_read_is_exact(arrangement, tmp_path, dtype):
    folder, splits, _ = arrangement
    before = read_sysu_features(folder, splits)
    before = Features(
        before.embeddings.astype(dtype), before.identities, before.cameras, before.modalities,
        before.positions, before.names, before.roles,
    )  # fmt: skip
    out = tmp_path / "out"
    paths = write_sysu_features(before, out, "mine")
    assert sorted(p.name for p in out.iterdir()) == [p.name for p in paths] == [f"mine_cam{c}.mat" for c in CAMERAS]
    assert loadmat(paths[0])["feature"].size == 533
    after = read_sysu_features(out, splits)
    assert after.embeddings.dtype == dtype
    for name in ("embeddings", "identities", "cameras", "modalities", "positions", "roles"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert [s.to_json() for s in evaluate(before, "sysu-mm01")] == [s.to_json() for s in evaluate(after, "sysu-mm01")]


def test_indoor_search_does_not_need_the_outdoor_cameras(arrangement):
    folder, splits, _ = arrangement
    for camera in (4, 5):
        (folder / f"feat_cam{camera}.mat").unlink()
    assert evaluate_sysu_features(folder, splits, "indoor").valid_queries == 18
    with pytest.raises(
        DataError, match=r"feat_cam4\.mat, feat_cam5\.mat not found; this search needs cameras 1, 2, 3, 4"
    ):
        evaluate_sysu_features(folder, splits, "all")


def test_several_names_need_a_choice(arrangement):
    folder, splits, _ = arrangement
    savemat(folder / "other_cam1.mat", {"feature": cells({})})
    with pytest.raises(DataError, match=r"several names \(feat, other\)"):
        read_sysu_features(folder, splits)
    assert len(read_sysu_features(folder, splits, name="feat")) > 0
    with pytest.raises(DataError, match=r"expected third_camK\.mat"):
        read_sysu_features(folder, splits, name="third")


def test_permutations_of_other_images_are_refused(arrangement):
    folder, splits, drawn = arrangement
    here = {i: a for (i, c), a in drawn.items() if c == 5} | {9: np.ones((3, 5))}
    savemat(folder / "feat_cam5.mat", {"feature": cells(here)})
    with pytest.raises(DataError, match="camera 5, identity 9 is for 1 images, but there are 3"):
        evaluate_sysu_features(folder, splits)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"features": np.ones(2)}, "expected the variable 'feature' or 'feature_test', found: features"),
        ({"feature": np.ones((3, 2))}, "expected a row or column of cells"),
        ({"feature": cells({5: np.ones((2, 4))})}, "identity 5: 4 dimensions, but 5 in"),
        ({"feature": cells({5: np.array([[1, 2, np.nan, 4, 5]])})}, "identity 5: NaN or infinity in row 1"),
        ({"feature": cells({5: np.array(["text"])})}, "identity 5: expected a matrix"),
    ],
)
def test_wrong_contents_are_refused_in_one_line(arrangement, content, message):
    folder, splits, _ = arrangement
    savemat(folder / "feat_cam4.mat", content)
    with pytest.raises(DataError, match=message) as caught:
        read_sysu_features(folder, splits)
    assert "feat_cam4.mat" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(600), r"version 7\.3 \(HDF5\), which is not read; save it again with `save -v7`"),
        (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(600), r"version 7\.3"),
        (b"", "cannot be read as a MATLAB file"),
        (b"no matrix here, only text" * 40, "cannot be read as a MATLAB file"),
    ],
)
def test_files_that_are_not_readable_are_refused(arrangement, data, message):
    folder, splits, _ = arrangement
    (folder / "feat_cam2.mat").write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_sysu_features(folder, splits)
    assert "feat_cam2.mat" in str(caught.value)


def test_truncated_files_are_refused(arrangement):
    folder, splits, _ = arrangement
    path = folder / "feat_cam4.mat"
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.97):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match=r"feat_cam4\.mat"):
            read_sysu_features(folder, splits)


def test_places_that_are_not_there(arrangement, tmp_path):
    folder, splits, _ = arrangement
    with pytest.raises(DataError, match="is not a directory"):
        read_sysu_features(tmp_path / "absent", splits)
    with pytest.raises(DataError, match=r"neither test_id\.mat nor test_id\.txt"):
        read_sysu_features(folder, tmp_path / "absent")
    with pytest.raises(DataError, match="found: none"):
        read_sysu_features(splits, splits)
    (splits / "test_id.txt").write_text("2,x")
    with pytest.raises(DataError, match="expected identity numbers"):
        read_identities(splits, "test_id")
    (splits / "test_id.txt").write_text("3 4")
    with pytest.raises(DataError, match="all cells of the 2 test identities are empty"):
        read_sysu_features(folder, splits)
    savemat(splits / "test_id.mat", {"id": np.array([[5, 2]], dtype=np.uint16)})
    assert read_identities(splits, "test_id") == [2, 5]
    for wrong in ({"mode": "outdoor"}, {"shots": 5}):
        with pytest.raises(ValueError, match=r"outdoor|found 5"):
            evaluate_sysu_features(folder, splits, **wrong)


def test_features_of_other_data_sets_are_not_written(tmp_path):
    def features(identities, cameras, positions=None):
        count = len(identities)
        return Features(
            np.ones((count, 2)), np.array(identities), np.array(cameras), np.zeros(count, dtype=int),
            np.array(positions or positions_of(list(zip(identities, cameras, strict=True)))),
            np.array([""] * count), np.array(["both"] * count),
        )  # fmt: skip

    for given, message in (
        (features(["anna"], [1]), "identities that are numbers from 1, found anna"),
        (features(["1"], [7]), "cameras 1 to 6, found 7"),
        (
            features(["1", "1"], [2, 2], [0, 2]),
            r"camera 2, identity 1: expected all of its images, found positions \[0, 2\]",
        ),
    ):
        with pytest.raises(DataError, match=message):
            write_sysu_features(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()
