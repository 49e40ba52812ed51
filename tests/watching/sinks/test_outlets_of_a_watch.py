"""Sinks over the real state of a watch: killed while it observes, and again, no event is lost, and none is in a file twice."""

import json
import os
import signal
import time
from functools import partial

from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.posterior import by_threshold
from crossreid.watching.identities.state import open_state
from crossreid.watching.sinks.outlets import Outlets
from forked import Forked
from served import within
from watched import CAMERAS, faces, tracklet
from webhook_receiver import events_of, receiving

TRACKS = 40


def watch(folder, url):
    """Observe tracks of four people, as far as the state does not have them; go on where a killed one ended."""
    with open_state(folder, watch="w", keep_images=False) as state:
        outlets = Outlets(folder, state, webhooks=[url])
        watching = Identities(state, by_threshold(0.5))
        for at in range((state.progress("gate") or (-1,))[0] + 1, TRACKS):
            with state.step():
                camera = CAMERAS[at % 3]
                watching.advance(camera, 1_795_255_200.0 + 40 * at)
                watching.observe(tracklet(camera, state.next_track(camera), 40 * at, 3, faces()[at % 4]))
                state.note_progress("gate", at, 40.0 * at)
            outlets.flush()
        while outlets.close(20):  # the receiver may refuse the one try at the end; the next watch sends what is left
            outlets = Outlets(folder, state, webhooks=[url])


def test_killed_again_and_again_every_event_is_in_the_files_once_and_reaches_the_webhook(tmp_path):
    folder = tmp_path / "watch"
    with receiving(script=[204, 500, 204, 503] * 3) as receiver:
        kills, lines = 0, folder / "events.jsonl"

        def grown_or_over(process, size):
            return process.poll() is not None or (lines.exists() and lines.stat().st_size > size)

        for more in range(20):
            size = lines.stat().st_size if lines.exists() else 0
            process = Forked(watch, folder, receiver.url, log=tmp_path / "log")
            assert within(partial(grown_or_over, process, size + 2500), 30)
            time.sleep(0.003 * more)
            if process.poll() is not None:
                break
            os.kill(process._process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        assert process.poll() == 0, (tmp_path / "log").read_text()
        assert kills >= 3
    with open_state(folder, read_only=True) as state:
        events = state.events(0, 10_000)
    assert len(events) > TRACKS
    assert [json.loads(line)["id"] for line in lines.read_text(encoding="utf-8").splitlines()] == [
        event.id for event in events
    ]
    assert len((folder / "events.csv").read_text(encoding="utf-8").splitlines()) == len(events) + 1
    came = [each["id"] for batch in events_of(receiver) for each in batch]
    assert list(dict.fromkeys(came)) == [event.id for event in events]  # some perhaps again, all in order
