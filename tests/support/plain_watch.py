"""A watch's state and identities in their simplest form: each track is an identity of its own, and all is kept in SQLite."""

import sqlite3
from contextlib import contextmanager

import numpy as np

from crossreid.watching.events import Event
from crossreid.watching.frame_order import by_time
from crossreid.watching.tracking.appearance import Likeness
from crossreid.watching.tracking.camera_tracker import CameraTracker
from crossreid.watching.tracking.embedding_tracklets import TrackletEmbedder
from crossreid.watching.tracking.kept_trackers import KeptTrackers
from crossreid.watching.tracking.tracking_options import TrackingOptions
from crossreid.watching.watch_loop import CameraInHand, WatchLoop
from walking_people import ColourModel, detections_of


class PlainState:
    """State and identities at once; `versions` are the tracklets that this process was given."""

    def __init__(self, path):
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.versions = []
        with self.step():
            for table in (
                "progress (camera TEXT PRIMARY KEY, frame INTEGER, time REAL)",
                "tracks (number INTEGER PRIMARY KEY, camera TEXT, track INTEGER, embedding BLOB, UNIQUE (camera, track))",
                "boxes (camera TEXT, track INTEGER, frame INTEGER, box BLOB, PRIMARY KEY (camera, track, frame))",
                "events (number INTEGER PRIMARY KEY, content TEXT)",
                "trackers (camera TEXT PRIMARY KEY, content BLOB)",
            ):
                self.write(f"CREATE TABLE IF NOT EXISTS {table}")

    def read(self, statement, values=()):
        return self.connection.execute(statement, values).fetchall()

    def write(self, statement, values=()):
        return self.connection.execute(statement, values).lastrowid

    @contextmanager
    def step(self):
        self.write("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.write("ROLLBACK")
            raise
        self.write("COMMIT")

    def progress(self, camera):
        return next(iter(self.read("SELECT frame, time FROM progress WHERE camera = ?", (camera,))), None)

    def note_progress(self, camera, index, time):
        self.write("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", (camera, index, time))

    def next_track(self, camera):
        return 1 + self.read("SELECT coalesce(max(track), 0) FROM tracks WHERE camera = ?", (camera,))[0][0]

    def observe_all(self, tracklets):
        return [event for tracklet in tracklets for event in self.observe(tracklet)]

    def observe(self, tracklet):
        self.versions.append(tracklet)
        key = (tracklet.camera, tracklet.track)
        known = self.read("SELECT number FROM tracks WHERE camera = ? AND track = ?", key)
        values = (*key, tracklet.embedding.tobytes())
        if known:
            self.write("UPDATE tracks SET embedding = ? WHERE number = ?", (values[2], known[0][0]))
        else:
            self.write("INSERT INTO tracks (camera, track, embedding) VALUES (?, ?, ?)", values)
        # As the real state does it: what ends earlier was cut, what is longer is added.
        self.write("DELETE FROM boxes WHERE camera = ? AND track = ? AND frame > ?", (*key, int(tracklet.indexes[-1])))
        for index, box in zip(tracklet.indexes, tracklet.boxes, strict=True):
            self.write("INSERT OR IGNORE INTO boxes VALUES (?, ?, ?, ?)", (*key, int(index), box.tobytes()))
        events = [] if known else [self._event("seen", tracklet.start, tracklet)]
        return events + ([self._event("left", tracklet.end, tracklet)] if tracklet.finished else [])

    def _event(self, kind, time, tracklet):
        number = 1 + self.read("SELECT count(*) FROM events")[0][0]
        event = Event(f"e{number}", number, kind, time, f"{tracklet.camera}-{tracklet.track}", track=tracklet.track)
        self.write("INSERT INTO events VALUES (?, ?)", (number, event.to_json()))
        return event

    def advance(self, camera, time):
        return []

    def ended(self, camera):
        return []

    def answer_requests(self):
        return []

    def take_forgotten(self):
        return None

    def events(self):
        return [text for (text,) in self.read("SELECT content FROM events ORDER BY number")]

    def embeddings(self):
        return self.read("SELECT camera, track, embedding FROM tracks ORDER BY camera, track")

    def mot_rows(self, camera):
        rows = "SELECT frame, number, box FROM boxes JOIN tracks USING (camera, track) WHERE camera = ? ORDER BY frame, number"
        return ((frame, number, np.frombuffer(box, np.float32)) for frame, number, box in self.read(rows, (camera,)))


class Truth:
    """A detector that knows; it remembers what it was shown."""

    def __init__(self, truth):
        self.truth, self.shown = truth, []

    def detect(self, frame):
        self.shown.append(frame.index)
        return detections_of(self.truth[frame.index])


def loop_of(films, state, *, model=None, options=None, before=0, **settings):
    """A loop over films (name to frames and truth) and its items, from where the state stands; `before` frames are shown again."""
    options = options or TrackingOptions()
    checkpoints = KeptTrackers(state)
    cameras, sources = [], []
    for name, (frames, truth) in films.items():
        camera = CameraInHand(name, Truth(truth), CameraTracker(name, options))
        camera.resume(state, checkpoints)
        first = camera.shown_until + 1
        cameras.append(camera)
        sources.append(iter(frames[max(0, first - before) :]))
    loop = WatchLoop(
        cameras, TrackletEmbedder(model or ColourModel()), Likeness(options), state, state, checkpoints, **settings
    )
    return loop, by_time(sources, 1.0)
