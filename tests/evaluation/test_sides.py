"""Who queries whom, on a handful of images."""

import numpy as np
import pytest

from crossreid.data.records import DataError
from crossreid.evaluation.features import Features
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.evaluation.sides import seen_by_several, sides_by_role, sides_of


def features(modalities, roles, identities="aabb", cameras=(1, 2, 3, 3)):
    count = len(modalities)
    return Features(
        embeddings=np.eye(count), identities=np.array(list(identities)), cameras=np.array(cameras),
        modalities=np.array(modalities), positions=np.zeros(count, int), names=np.array([""] * count),
        roles=np.array(roles),
    )  # fmt: skip


def test_images_that_are_both_query_by_modality_or_each_all_others():
    query, gallery = sides_by_role(features([1, 0, 1, 0], ["both"] * 4))
    assert (query.tolist(), gallery.tolist()) == ([True, False] * 2, [False, True] * 2)
    query, gallery = sides_by_role(features([0] * 4, ["both", "query", "gallery", "both"]))
    assert (query.tolist(), gallery.tolist()) == ([True, True, False, True], [True, False, True, True])


def test_a_setting_chooses_by_modality_camera_and_junk():
    given = features([1, 0, 1, 0], ["query", "gallery"] * 2, cameras=(3, 4, 5, 1))
    setting = PROTOCOLS["sysu-mm01"].settings[0]
    query, gallery = sides_of(given, setting, PROTOCOLS["sysu-mm01"])
    assert (query.tolist(), gallery.tolist()) == ([0], [1, 3])  # camera 5 is none that queries
    indoor = PROTOCOLS["sysu-mm01"].settings[2]
    assert sides_of(given, indoor, PROTOCOLS["sysu-mm01"])[1].tolist() == [3]
    with pytest.raises(DataError, match=r"the gallery is empty; expected visible images of cameras 1, 2"):
        sides_of(given.take(np.array([0, 1, 2])), indoor, PROTOCOLS["sysu-mm01"])


def test_identities_that_several_cameras_saw():
    assert seen_by_several(features([0] * 4, ["both"] * 4)).tolist() == [True, True, False, False]
