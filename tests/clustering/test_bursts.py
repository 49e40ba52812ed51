"""Bursts are of one cluster and camera, and end where nothing follows in time."""

import numpy as np

from crossreid.clustering.bursts import bursts, one_of_each
from drawn_crops import crops_of

NONE = float("nan")


def test_a_burst_goes_on_while_crops_follow():
    times = [10, 0, 4, 9.5, 100, 103, 0, 2]
    crops = crops_of(np.eye(8), times=times, cameras=[1, 1, 1, 1, 1, 2, 3, 3])
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 1])
    assert bursts(crops, labels, 5).tolist() == [0, 1, 1, 0, 2, 3, 4, 5]
    assert bursts(crops, labels, 6).tolist() == [0, 0, 0, 0, 1, 2, 3, 4]


def test_frames_stand_in_for_times_and_what_is_unknown_is_of_no_burst():
    crops = crops_of(
        np.eye(6), times=[NONE, NONE, NONE, NONE, 3.0, NONE], frames=[0, 25, 51, 51, 0, -1], cameras=[1, 1, 1, 0, 1, 1]
    )
    assert bursts(crops, np.zeros(6, int)).tolist() == [0, 0, 1, 2, 3, 4]


def test_the_crop_that_is_most_alike_to_its_burst_stands_for_it():
    angles = np.radians([0, 20, 50, 90])
    crops = crops_of(np.stack([np.cos(angles), np.sin(angles)], 1))
    assert one_of_each(crops, np.array([0, 0, 0, 1])).tolist() == [False, True, False, True]
