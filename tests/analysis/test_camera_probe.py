"""The camera probe on embeddings that hold the camera, and on some that do not."""

import numpy as np
import pytest

from crossreid.analysis.camera_probe import read_camera, read_cameras
from crossreid.data.records import DataError
from crossreid.evaluation.features import Features

GENERATOR = np.random.default_rng(0)
IDENTITIES = np.repeat(np.arange(30).astype(str), 12)
# Half of all images are by the first of three cameras.
CAMERAS = np.tile([1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3], 30)
OF_IDENTITY = np.repeat(GENERATOR.normal(size=(30, 8)), 12, axis=0) + 0.1 * GENERATOR.normal(size=(360, 8))


def test_a_camera_that_is_there_is_read_off_identities_never_seen():
    holding = OF_IDENTITY.copy()
    holding[:, :3] += 6 * np.eye(3)[CAMERAS - 1]
    reading = read_camera(holding, IDENTITIES, CAMERAS, seed=0)
    assert reading["accuracy"] > 0.9
    assert reading["share"] > 0.6
    assert reading["prior"] == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_read_where_there_is_nothing(seed):
    reading = read_camera(OF_IDENTITY, IDENTITIES, CAMERAS, seed)
    assert reading["share"] == pytest.approx(0, abs=0.02)
    assert reading["accuracy"] == pytest.approx(0.5, abs=0.03)


def test_the_prior_is_of_the_images_fitted_on():
    """The most frequent camera of the identities fitted on need not be that of those asked about."""
    from crossreid.analysis.probes import divide

    _, _, test = divide(IDENTITIES, 1)
    cameras = np.where(test, 1, np.where(np.arange(360) % 3 == 0, 1, 2))
    cameras[np.flatnonzero(test)[:10]] = 2
    assert read_camera(OF_IDENTITY, IDENTITIES, cameras, 1)["prior"] == pytest.approx(10 / test.sum())


def features_of(cameras, modalities):
    count = len(OF_IDENTITY)
    return Features(OF_IDENTITY, IDENTITIES, cameras, modalities, np.zeros(count, dtype=int), np.array([""] * count),
                    np.array(["query"] * count))  # fmt: skip


def test_each_modality_with_two_cameras_is_read_by_itself():
    modalities = (CAMERAS == 1).astype(int)
    assert list(read_cameras(features_of(CAMERAS, modalities), 2)) == ["visible"]  # infrared is one camera's
    everything = read_cameras(features_of(CAMERAS, np.zeros(360, dtype=int)), 2)
    assert [one["division"] for one in everything["visible"]] == [0, 1]
    with pytest.raises(
        DataError, match=r"one modality with images of at least two known cameras, found cameras 0 \(0: unknown\)"
    ):
        read_cameras(features_of(np.zeros(360, dtype=int), modalities), 2)


def test_too_few_identities_or_cameras_are_refused():
    few = np.isin(IDENTITIES, ["0", "1", "2"])
    with pytest.raises(DataError, match="expected at least 4 identities that were not trained on, found 3"):
        read_camera(OF_IDENTITY[few], IDENTITIES[few], CAMERAS[few], 0)
    from crossreid.analysis.probes import divide

    fit = divide(IDENTITIES, 0)[0]
    with pytest.raises(DataError, match="found only camera 4"):
        read_camera(OF_IDENTITY, IDENTITIES, np.where(fit, 4, CAMERAS), 0)
