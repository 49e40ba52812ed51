"""Identities across cameras: what holds whatever is seen, and the rules one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checked_watch import check
from crossreid.watching.identities import Identities
from crossreid.watching.matching_options import MatchingOptions
from crossreid.watching.state import open_state
from crossreid.watching.topology import Topology
from scripted_tracklets import calibration, looks, person, tracklet, unit
from walks_of_people import observations

TOPOLOGIES = [
    Topology(),
    Topology.model_validate(
        {"links": [{"between": ["a", "b"], "overlap": True}, {"between": ["b", "c"], "seconds": [2, 30]}]}
    ),
    Topology.model_validate(
        {"links": [{"between": ["a", "b"], "seconds": [1, 60]}], "unnamed": "never", "clock_error": 0.5}
    ),
]


@given(seed=st.integers(0, 10_000), topology=st.sampled_from(TOPOLOGIES), noise=st.sampled_from([0.6, 1.6, 3.0]))
@settings(max_examples=25, deadline=None)
def test_what_holds_whatever_is_seen(tmp_path_factory, seed, topology, noise):
    rng = np.random.default_rng(seed)
    with open_state(tmp_path_factory.mktemp("watch"), watch="w") as state:
        state.database._writer.execute("PRAGMA synchronous=OFF")
        identities = Identities(state, calibration(), MatchingOptions(absent_after=5, forget_after=0.02), topology)
        waiting = observations(seed, noise=(0.2, noise))
        while waiting:
            count = int(rng.integers(1, 4))
            batch, waiting = waiting[:count], waiting[count:]
            newest = {(one.camera, one.track): one for _, one in batch}
            identities.observe_all(list(newest.values()))
            if rng.random() < 0.3:
                identities.advance(batch[-1][1].camera, batch[-1][0])
            if rng.random() < 0.3:
                check(state, topology, identities)
        check(state, topology, identities)
        for camera in "abc":
            identities.ended(camera)
        check(state, topology, identities)
        assert not [one for one in state.timeline() if one.open]
