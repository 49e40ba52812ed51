"""What holds of a watch's state whatever was seen, and its events played again."""

import itertools

from crossreid.watching.identities.candidates import Candidates


def played(events):
    """Who is in which view by the events alone: {(identity, camera)}, and who became whom."""
    there, became = set(), {}
    for event in events:
        if event.kind == "seen":
            there.add((event.identity, event.camera))
        elif event.kind == "left":
            assert (event.identity, event.camera) in there, event
            there.remove((event.identity, event.camera))
        elif event.kind == "merged":
            became[event.other] = event.identity
            there = {(event.identity if who == event.other else who, camera) for who, camera in there}
    return there, became


def check(state, topology, identities=None):
    tracks = state.database.read("SELECT row, camera, first, last, identity, presence, pinned FROM tracks ORDER BY row")
    for one, other in itertools.combinations(tracks, 2):
        if one[1] == other[1] and one[2] <= other[3] and other[2] <= one[3]:
            by_people = one[6] and other[6]  # they put both there, and one grew later
            assert one[4] != other[4] or by_people, (one, other)
    presences = state.database.read("SELECT row, identity, camera, first, last, open FROM presences ORDER BY row")
    by_row = {row[0]: row for row in presences}
    people = {identity for _, _, _, _, identity, _, pinned in tracks if pinned}
    for one, other in itertools.combinations(presences, 2):
        if one[1] != other[1]:
            continue
        assert not (one[5] and other[5] and one[2] == other[2])
        if not topology.may_overlap(one[2], other[2]) and one[1] not in people:
            assert one[4] < other[3] or other[4] < one[3], (one, other)
    held = {}
    for _, camera, first, last, identity, presence, _ in tracks:
        assert by_row[presence][1:3] == (identity, camera)
        held.setdefault(presence, []).append((first, last))
    assert held.keys() == by_row.keys()
    for row, spans in held.items():
        assert by_row[row][3:5] == (min(first for first, _ in spans), max(last for _, last in spans))
    events = state.events(0, 1_000_000)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert len({event.id for event in events}) == len(events)
    there, became = played(events)
    assert there == {(f"g{row[1]}", row[2]) for row in presences if row[5]}
    for other, into in became.items():
        end = state.resolve(other)
        assert end == state.resolve(into)
        assert state.database.read("SELECT merged_into FROM identities WHERE number = ?", (int(end[1:]),)) == [(None,)]
        assert int(other[1:]) not in {row[4] for row in tracks}
    if identities is not None:
        assert content(identities._candidates) == content(
            Candidates(state.database, identities._options, identities._topology)
        )


def content(candidates):
    """What is in memory, wherever it lies there."""
    vectors, presences, names = (
        candidates._vectors,
        candidates._presences,
        {code: name for name, code in candidates._codes.items()},
    )
    kept = {
        (*(vectors[name][row] for name in ("track", "identity", "modality", "last")), candidates._matrix[row].tobytes())
        for row in vectors.live.nonzero()[0]
    }
    views = {
        (names[presences["camera"][row]], *(presences[name][row] for name in ("row", "identity", "first", "last")))
        for row in presences.live.nonzero()[0]
    }
    return candidates.clock, kept, views
