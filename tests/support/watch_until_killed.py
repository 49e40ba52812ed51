"""Watches a scripted day in processes that are killed one after the other, until one comes to its end.

Each child opens the state, goes on after the last observation that was kept, and sends events to a file that is never taken back.
It is killed by SIGKILL: by its parent after a drawn time, or by itself after a drawn number of the database's instructions. How
many were killed is printed.
"""

import json
import os
import signal
import time

import numpy as np

from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.matching_options import MatchingOptions
from crossreid.watching.identities.state import open_state
from crossreid.watching.identities.topology import Topology
from scripted_tracklets import calibration
from walks_of_people import observations

TOPOLOGY = Topology.model_validate({"links": [{"between": ["a", "b"], "overlap": True}]})
OPTIONS = MatchingOptions(absent_after=5, forget_after=0.02)


def day(seed):
    return observations(seed, people=4, visits=4, images=True)


def watch(folder, seed, die_after=0):
    """All that is left of the day."""
    with open_state(folder, watch="w") as state:
        if die_after:
            left = [die_after]

            def count():
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

            state.database._writer.set_progress_handler(count, 20)
        identities = Identities(state, calibration(), OPTIONS, TOPOLOGY)
        seen = day(seed)
        done = state.progress("day")
        with open(folder / "sent", "ab", buffering=0) as sent:
            for index in range(done[0] + 1 if done else 0, len(seen)):
                moment, tracklet = seen[index]
                with state.step():
                    identities.observe(tracklet)
                    identities.advance(tracklet.camera, moment)
                    state.note_progress("day", index, moment)
                for event in state.undelivered("file"):
                    sent.write(event.to_json().encode() + b"\n")
                    state.delivered("file", event.number)
            for camera in "abc":
                identities.ended(camera)


def content(folder):
    """What a watch has kept, and the crops that there are."""
    with open_state(folder, read_only=True) as state:
        tables = {
            name: state.database.read(f"SELECT * FROM {name}")
            for name in ("events", "tracks", "boxes", "key_frames", "presences", "identities", "links", "used_tracks")
        }
        return tables, sorted(path.name for path in (folder / "crops").iterdir())


def sent(folder):
    return [json.loads(line) for line in (folder / "sent").read_bytes().splitlines()]


def main(folder, seed, kills):
    rng = np.random.default_rng(seed)
    killed = 0
    while True:
        by_parent, delay = rng.random() < 0.5, float(rng.uniform(0.005, 0.05))
        die_after = 0 if by_parent else int(rng.integers(1, 600))
        process = os.fork()
        if process == 0:
            watch(folder, seed, die_after if killed < kills else 0)
            os._exit(0)
        if by_parent and killed < kills:
            time.sleep(delay)
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):
            print(killed, os.waitstatus_to_exitcode(status))
            return
        killed += 1
