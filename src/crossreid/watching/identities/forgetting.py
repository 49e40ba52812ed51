"""Retention: deleting tracks, embeddings and crops older than the retention time."""

from __future__ import annotations

from functools import partial

from crossreid.watching.identities.state import State
from crossreid.watching.tracking.kept_trackers import KeptTrackers


def forget(state: State, before: float) -> int:
    """Delete the tracks that ended before this time, with boxes, embeddings, key frames, crops and tracker memory;
    returns how many.

    Identities and presences without tracks are deleted too, and so are earlier events that every sink has, and people's
    decisions about deleted data. `Identities.forget` does this while a process watches.
    """
    with state.step():
        database = state.database
        KeptTrackers(database).forget(before)
        state.when_kept(database.fold_log)  # the log still holds deleted content
        rows = [row for (row,) in database.read("SELECT row FROM tracks WHERE last < ?", (before,))]
        for row in rows:
            for (path,) in database.read("SELECT path FROM key_frames WHERE track = ? AND path != ''", (row,)):
                state.when_kept(partial((state.folder / path).unlink, missing_ok=True))
            for table in ("key_frames", "boxes"):
                database.write(f"DELETE FROM {table} WHERE track = ?", (row,))
            database.write("DELETE FROM tracks WHERE row = ?", (row,))
            for end in ("track", "other_track"):
                database.write(f"UPDATE links SET {end} = NULL WHERE {end} = ?", (row,))
        database.write("DELETE FROM presences WHERE row NOT IN (SELECT presence FROM tracks)")
        database.write("DELETE FROM links WHERE track IS NULL AND other_track IS NULL")
        database.write(
            "UPDATE presences SET first = (SELECT min(first) FROM tracks WHERE presence = presences.row) WHERE first < ?",
            (before,),
        )
        database.write(
            "DELETE FROM identities WHERE created < ? AND number NOT IN (SELECT identity FROM tracks) "
            "AND number NOT IN (SELECT merged_into FROM identities WHERE merged_into IS NOT NULL)",
            (before,),
        )
        database.write(
            "DELETE FROM events WHERE time < ? AND number <= (SELECT coalesce(min(number), 9e18) FROM cursors)",
            (before,),
        )
    return len(rows)
