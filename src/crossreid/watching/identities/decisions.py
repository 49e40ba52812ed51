"""People's decisions: two identities are the same, or some tracks show someone else. The machine never undoes them.

While a process watches, only it writes; others leave a request in the state, which it answers in its next step.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

from crossreid.errors import CrossreidError
from crossreid.watching import mot_files
from crossreid.watching.events import Event
from crossreid.watching.identities import track_rows
from crossreid.watching.identities.changes import Changes
from crossreid.watching.identities.database import FILE, StateError
from crossreid.watching.identities.forgetting import forget
from crossreid.watching.identities.identity_ids import id_of, number_of
from crossreid.watching.identities.state import State, WatchLocked, open_state
from crossreid.watching.identities.topology import Topology


class IdentityConflict(CrossreidError):
    """An impossible merge or split; the message says why."""


def note_rules(state: State, topology: Topology, absent_after: float) -> None:
    """Store the rules of a watch in its state, as people's decisions follow them too."""
    rules = json.dumps({"topology": topology.model_dump(mode="json", by_alias=True), "absent_after": absent_after})
    if state.noted("rules") != rules:
        state.note("rules", rules)


def _changes(state: State) -> Changes:
    rules = json.loads(state.noted("rules") or '{"topology": {}, "absent_after": 10.0}')
    return Changes(state, Topology.model_validate(rules["topology"]), rules["absent_after"])


def merge(state: State, into: str, other: str, by: str) -> Event:
    """Merge two identities because a person says so: `into` stays, and the machine never moves tracks of either away.

    Raises `IdentityConflict` if they are already one or were seen in two tracks of one camera at once, `CrossreidError`
    for an unknown identity.
    """
    with state.step():
        one, two = _mergeable(state, into, other)
        state.database.write(
            "UPDATE links SET holds = 0 WHERE kind = 'cannot' AND ((one = ? AND other = ?) OR (one = ? AND other = ?))",
            (one, two, two, one),
        )
        _link(state, "must", one, two, _pictured(state, one), _pictured(state, two), by)
        event = _changes(state).merge(one, two, None, _now(state), by)
        state.database.write("UPDATE tracks SET pinned = 1 WHERE identity = ?", (one,))
        return event


def _mergeable(state: State, into: str, other: str) -> tuple[int, int]:
    """The numbers of two identities that can be merged. Raises as `merge`."""
    one, two = state.resolved(number_of(into)), state.resolved(number_of(other))
    if one == two:
        raise IdentityConflict(f"{into} and {other} are already one identity: {id_of(one)}.")
    if at_once := seen_at_once(state, one, two):
        camera, first, second = at_once
        raise IdentityConflict(
            f"{into} and {other} cannot be one identity: camera {camera} saw both at once, as tracks {first} and {second}. Split "
            "off the wrong track first."
        )
    return one, two


def split(state: State, identity: str, tracks: Sequence[int], by: str) -> Event:
    """Split tracks, by number in the state, off an identity because a person says so; the event names the new one.

    Raises `IdentityConflict` if they are not tracks of the identity, or all of them, `CrossreidError` for an unknown
    identity.
    """
    with state.step():
        old = state.resolved(number_of(identity))
        own = {track.row: track for track in track_rows.select(state.database, "identity = ?", old)}
        wrong = [number for number in tracks if number not in own]
        if wrong or not tracks:
            what = f"{identity} has no track {wrong[0]}" if wrong else "no track is named"
            raise IdentityConflict(f"{what}. Its tracks are {', '.join(map(str, own)) or 'none'}.")
        if len(set(tracks)) == len(own):
            raise IdentityConflict(f"these are all tracks of {identity}, so nothing would be left of it.")
        rest = _pictured(state, old, without=tracks)
        state.database.write("UPDATE tracks SET pinned = 1 WHERE identity = ?", (old,))
        new, event = _changes(state).split([own[number] for number in sorted(set(tracks))], _now(state), by)
        moved = ",".join(map(str, sorted(set(tracks))))
        state.database.write(
            f"UPDATE links SET holds = 0 WHERE kind = 'must' AND (track IN ({moved})) != (other_track IN ({moved}))"
        )
        for number in sorted(set(tracks)):
            _link(state, "cannot", new, old, number, rest, by)
        return event


def _link(
    state: State,
    kind: Literal["must", "cannot"],
    one: int,
    other: int,
    track: int | None,
    other_track: int | None,
    by: str,
) -> None:
    state.database.write(
        "INSERT INTO links (kind, one, other, track, other_track, by, time, holds) VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
        (kind, one, other, track, other_track, by, time.time()),
    )


def _pictured(state: State, identity: int, without: Sequence[int] = ()) -> int | None:
    """The track of an identity with the best key frame."""
    rows = state.database.read(
        "SELECT t.row FROM tracks t LEFT JOIN key_frames k ON k.track = t.row WHERE t.identity = ? "
        "GROUP BY t.row ORDER BY max(coalesce(k.quality, -1)) DESC, t.row",
        (identity,),
    )
    return next((row for (row,) in rows if row not in without), None)


def _now(state: State) -> float:
    """The current time of the watched films, which need not be the present."""
    return float(state.noted("clock") or time.time())


def kept_apart(state: State, one: int, other: int) -> bool:
    """Whether a person has said that two identities are different."""
    return bool(
        state.database.read(
            "SELECT 1 FROM links WHERE kind = 'cannot' AND holds AND ((one = ? AND other = ?) OR (one = ? AND other = ?))",
            (one, other, other, one),
        )
    )


def seen_at_once(state: State, one: int, other: int) -> tuple[str, int, int] | None:
    """A camera that saw both at once, with their tracks there; None if there is none."""
    found = state.database.read(
        "SELECT a.camera, a.track, b.track FROM tracks a JOIN tracks b "
        "ON a.camera = b.camera AND a.first <= b.last AND b.first <= a.last WHERE a.identity = ? AND b.identity = ? LIMIT 1",
        (one, other),
    )
    return found[0] if found else None


def ask_merge(folder: Path, into: str, other: str, by: str) -> Event | int:
    """Merge in a watch folder from another process.

    Returns:
        The event if nobody is watching into it, else the number of the request to the watching process.

    Raises as `merge`; for a request, only unknown identities and conflicts with the current state are found at once.
    """
    return _ask(folder, "merge", {"into": into, "other": other}, by)


def ask_split(folder: Path, identity: str, tracks: Sequence[int], by: str) -> Event | int:
    """As `ask_merge`, for `split`."""
    return _ask(folder, "split", {"identity": identity, "tracks": list(tracks)}, by)


def ask_forget(folder: Path, before: float, by: str) -> int | None:
    """As `ask_merge`, for `forget`: the number of tracks deleted, None if the watching process was asked."""
    try:
        with open_state(folder, create=False) as state:
            count = forget(state, before)
            mot_files.write_anew(folder, state)
            return count
    except WatchLocked:
        _request(folder, "forget", {"before": before}, by)
        return None


def _ask(folder: Path, kind: str, content: dict, by: str) -> Event | int:
    try:
        with open_state(folder, create=False) as state:
            event = _do(state, kind, content, by)
            mot_files.write_anew(folder, state)
            return event
    except WatchLocked:
        with open_state(folder, read_only=True) as state:
            _check(state, kind, content)
        return _request(folder, kind, content, by)


def _request(folder: Path, kind: str, content: dict, by: str) -> int:
    """Leave a request for the watching process; returns its number."""
    try:
        with closing(sqlite3.connect(Path(folder) / FILE, isolation_level=None, timeout=30)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            asked = connection.execute(
                "INSERT INTO requests (kind, content, by, asked) VALUES (?, ?, ?, ?)",
                (kind, json.dumps(content), by, time.time()),
            )
            return int(asked.lastrowid or 0)
    except sqlite3.Error as error:
        raise StateError(f"{folder} could not be asked ({error}); try again.") from error


def _check(state: State, kind: str, content: dict) -> None:
    """Refuse at once a request that conflicts with the current state."""
    if kind == "merge":
        _mergeable(state, content["into"], content["other"])
        return
    own = {track.number for track in state.tracks_of(content["identity"])}
    if not set(content["tracks"]) < own or not content["tracks"]:
        raise IdentityConflict(
            f"expected some of the tracks of {content['identity']}: {', '.join(map(str, sorted(own)))}."
        )


def _do(state: State, kind: str, content: dict, by: str) -> Event:
    if kind == "merge":
        return merge(state, content["into"], content["other"], by)
    return split(state, content["identity"], content["tracks"], by)


def waiting(state: State) -> bool:
    """Whether there are unanswered requests."""
    return bool(state.database.read("SELECT 1 FROM requests WHERE event IS NULL AND refused IS NULL LIMIT 1"))


def answer(state: State) -> float | None:
    """Carry out the requests in order; each stores the number of its event (0 for `forget`), or why it was refused.

    Returns the latest time up to which something was deleted, None if nothing was.
    """
    forgotten: list[float] = []
    with state.step():
        for number, kind, content, by in state.database.read(
            "SELECT number, kind, content, by FROM requests WHERE event IS NULL AND refused IS NULL ORDER BY number"
        ):
            try:
                if kind == "forget":
                    forgotten.append(float(json.loads(content)["before"]))
                    forget(state, forgotten[-1])
                    done = 0
                else:
                    done = _do(state, kind, json.loads(content), by).number
                state.database.write("UPDATE requests SET event = ? WHERE number = ?", (done, number))
            except CrossreidError as error:
                state.database.write("UPDATE requests SET refused = ? WHERE number = ?", (str(error), number))
    return max(forgotten, default=None)
