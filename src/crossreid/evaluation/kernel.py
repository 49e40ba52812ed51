"""Compute ranks by counting on CPUs, compiled: `crossreid.evaluation.counting` does this on other devices.

The rank of a match is 1 plus the number of kept entries ahead of it, so each match needs one pass of comparisons over
the gallery and nothing is sorted. An entry is ahead of a match if it is nearer, or as near and earlier in the gallery.
To compare many entries per instruction, the distances of a query become 16-bit keys that increase with them, rounding
included: an entry with a lower key is nearer, one with a higher key farther, and the few that share a match's key are
compared by distance and position. The result is exact.
"""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-def"
# (numba infers the types of each call; annotations would not be used)
import numpy as np

from crossreid.evaluation.compiled import compiled

CHUNK = 512  # entries counted at a time, and looked through if they share a key
SEARCH = 256  # number of matches from which each entry is looked up among them instead
BEYOND = 32767  # key of entries behind every match, or left out
NOWHERE = -32768  # key below all others


# One function does everything for a query: exclusion, search, counting and measures work on arrays that the
# steps share, and each step as its own compiled function would need the same arguments again.
@compiled()
def rank_rows(
    distances,  # (R, P) float32 or float64, C order
    columns,  # (G,) the gallery's columns, or (0,) for all in order
    queries,  # (R,) code of each query's identity, -1 if the gallery does not have it
    cameras,  # (R,) camera of each query, 0 or less for no exclusion by camera
    masks,  # (M, G) uint8, 1 for kept entries
    mask_of,  # (R,) row of `masks`, -1 for all kept
    kept_by,  # (M,) number of entries that each mask keeps
    starts,  # (C + 1,) where each identity's entries start in `members`
    members,  # (G,) entries grouped by identity, ascending in each group
    codes,  # (G,) code of each entry's identity
    gallery_cameras,  # (G,) or (0,) if no rule uses them
    frames,  # (R,) and (G,) positions in a camera's video, used if `gap` is 0 or more
    gallery_frames,
    gap,
    first_only,  # CMC counts the first image of each identity
    trapezoid,  # AP by trapezoids
    limit,  # distances beyond it are refused
    first,
    precision,
    penalty,
    matches,
    kept,
):
    """Fill the last five, each `(R,)`, as in `Ranking`; return the first row with a non-finite distance, or -1."""
    entries = len(columns) if len(columns) > 0 else distances.shape[1]
    picked = np.empty(len(columns), dtype=distances.dtype)
    seen = np.full(len(starts) - 1 if first_only else 0, -1, dtype=np.int64)
    keys = np.empty(entries, dtype=np.int16)
    for q in range(len(distances)):
        row = distances[q]
        if len(columns) > 0:
            for i in range(entries):
                picked[i] = row[columns[i]]
            row = picked
        if _beyond(row, limit) > 0:
            return q
        masked = mask_of[q] >= 0
        mask = masks[mask_of[q]] if masked else masks[0, :0]
        total = kept_by[mask_of[q]] if masked else entries
        own = queries[q]
        group = members[starts[own] : starts[own + 1]] if own >= 0 else members[:0]
        found = np.empty(len(group), dtype=np.int64)
        dropped = np.empty(len(group), dtype=np.int64)
        count, out = 0, 0
        for entry in group:
            if masked and mask[entry] == 0:
                continue
            same = cameras[q] > 0 and gallery_cameras[entry] == cameras[q]
            if same and (gap < 0 or abs(gallery_frames[entry] - frames[q]) <= gap):
                dropped[out] = entry
                out += 1
            else:
                found[count] = entry
                count += 1
        kept[q] = total - out
        matches[q] = count
        first[q] = 0
        precision[q] = np.nan
        penalty[q] = np.nan
        if count == 0:
            continue
        where = found[:count]
        _sort(where, row)
        near = row[where]
        if count > SEARCH:
            ahead = _searched(row, mask, masked, near, where)
        elif count < 4 or not near[count - 1] > near[0]:
            ahead = _compared(row, mask, masked, near, where)
        else:
            ahead = _counted(row, mask, masked, near, where, keys)
        for j in range(count):
            for entry in dropped[:out]:
                if row[entry] < near[j] or (row[entry] == near[j] and entry < where[j]):
                    ahead[j] -= 1
        running = 0.0
        for j in range(count):
            running += _precision(j, ahead[j] + 1, trapezoid)
        precision[q] = running / count
        penalty[q] = count / (ahead[count - 1] + 1)
        if first_only:
            first[q] = 1 + _identities_ahead(row, mask, masked, near[0], where[0], codes, own, seen, q)
        else:
            first[q] = ahead[0] + 1
    return -1


@compiled()
def measure_rows(ranks, trapezoid, first, precision, penalty, matches):
    """Fill the last four, each `(R,)`, from the ranks `(R, M)` of matches, ascending per row with zeros in between."""
    for q in range(len(ranks)):
        running, count, last = 0.0, 0, 0
        first[q] = 0
        for rank in ranks[q]:
            if rank > 0:
                if count == 0:
                    first[q] = rank
                running += _precision(count, rank, trapezoid)
                count += 1
                last = rank
        matches[q] = count
        precision[q] = running / count if count > 0 else np.nan
        penalty[q] = count / last if count > 0 else np.nan


@compiled()
def _precision(before, rank, trapezoid):
    """Return what a match at a rank adds to average precision, with `before` matches ahead of it."""
    value = (before + 1) / rank
    if trapezoid:
        value = (value + (before / (rank - 1) if rank > 1 else 1.0)) / 2
    return value


@compiled()
def _sort(where, row):
    """Sort ascending entries by distance in place; equal ones stay in gallery order."""
    if len(where) > 64:
        where[:] = where[np.argsort(row[where], kind="mergesort")]
        return
    for i in range(1, len(where)):
        entry = where[i]
        value = row[entry]
        j = i - 1
        while j >= 0 and row[where[j]] > value:
            where[j + 1] = where[j]
            j -= 1
        where[j + 1] = entry


@compiled()
def _beyond(row, limit):
    bad = np.int64(0)
    for i in range(row.size):
        bad += not (abs(row[i]) < limit)  # NaN compares as false
    return bad


@compiled()
def _below(row, bound):
    count = np.int32(0)
    for i in range(row.size):
        count += row[i] < bound
    return count


@compiled()
def _kept_below(row, mask, bound):
    count = np.int32(0)
    for i in range(row.size):
        count += (row[i] < bound) & mask[i]
    return count


@compiled()
def _compared(row, mask, masked, near, where):
    """Return the kept entries ahead of each match, `(m,)`, by plain comparisons, for few matches."""
    ahead = np.empty(len(near), dtype=np.int64)
    raised = np.nextafter(near, np.full_like(near, np.inf))  # below this means at or below the bound
    for j in range(len(near)):
        at = where[j]
        if masked:
            ahead[j] = _kept_below(row[:at], mask[:at], raised[j]) + _kept_below(row[at:], mask[at:], near[j])
        else:
            ahead[j] = _below(row[:at], raised[j]) + _below(row[at:], near[j])
    return ahead


@compiled()
def _fill_keys(row, mask, masked, low, scale, keys):
    # One key below the nearest match's for all nearer entries, one above the farthest's for all farther ones.
    bottom, top, half = row.dtype.type(-1), row.dtype.type(65533), np.int32(32766)
    for i in range(row.size):
        keys[i] = np.int16(np.int32(min(max((row[i] - low) * scale, bottom), top)) - half)
    if masked:
        for i in range(row.size):
            keys[i] = keys[i] if mask[i] else np.int16(BEYOND)


@compiled()
def _lower(keys, a, b, c, d):
    """Return the numbers of keys below each of four, and of keys equal to any of them."""
    first, second, third, fourth, equal = np.int16(0), np.int16(0), np.int16(0), np.int16(0), np.int16(0)
    for i in range(keys.size):
        key = keys[i]
        first = np.int16(first + (key < a))
        second = np.int16(second + (key < b))
        third = np.int16(third + (key < c))
        fourth = np.int16(fourth + (key < d))
        equal = np.int16(equal + ((key == a) | (key == b) | (key == c) | (key == d)))
    return first, second, third, fourth, equal


@compiled()
def _equal(keys, key):
    count = np.int16(0)
    for i in range(keys.size):
        count = np.int16(count + (keys[i] == key))
    return count


@compiled()
def _settled(keys, key, here, row, start, bound, at):
    """Return how many entries that share a match's key are ahead of it; `keys` are those from entry `start` on."""
    left = np.int64(_equal(keys, key))
    if left == here:
        return 0
    ahead = 0
    for i in range(keys.size):
        if keys[i] == key:
            value = row[start + i]
            ahead += value < bound or (value == bound and start + i < at)
            left -= 1
            if left == 0:
                break
    return ahead


@compiled()
def _counted(row, mask, masked, near, where, keys):
    """As `_compared`, by keys, for several matches that are not all equally near."""
    count = len(near)
    low = near[0]
    scale = row.dtype.type(65532) / (near[count - 1] - low)
    if not np.isfinite(scale):
        return _compared(row, mask, masked, near, where)
    _fill_keys(row, mask, masked, low, scale, keys)
    padded = -(-count // 4) * 4
    bounds = np.full(padded, NOWHERE, dtype=np.int16)
    distinct = True
    for j in range(count):
        bounds[j] = keys[where[j]]
        distinct = distinct and (j == 0 or bounds[j] != bounds[j - 1])
    ahead = np.zeros(padded, dtype=np.int64)
    for start in range(0, row.size, CHUNK):
        piece = keys[start : min(start + CHUNK, row.size)]
        for j in range(0, padded, 4):
            a, b, c, d, equal = _lower(piece, bounds[j], bounds[j + 1], bounds[j + 2], bounds[j + 3])
            ahead[j] += a
            ahead[j + 1] += b
            ahead[j + 2] += c
            ahead[j + 3] += d
            last = min(j + 4, count)
            own = 0  # matches in this chunk: they share their keys, but are not ahead of themselves
            for k in range(j, last):
                own += start <= where[k] < start + piece.size
            if equal == own and distinct:
                continue
            for k in range(j, last):
                here = start <= where[k] < start + piece.size
                ahead[k] += _settled(piece, bounds[k], here, row, start, near[k], where[k])
    return ahead[:count]


@compiled()
def _searched(row, mask, masked, near, where):
    """As `_compared`, for many matches: each entry is located among the sorted matches, and positions are summed."""
    count = len(near)
    positions = np.zeros(count + 1, dtype=np.int64)
    for i in range(row.size):
        if masked and mask[i] == 0:
            continue
        value = row[i]
        low, high = 0, count  # the number of matches ahead of the entry, or the entry itself
        while low < high:
            middle = (low + high) // 2
            if near[middle] < value or (near[middle] == value and where[middle] <= i):
                low = middle + 1
            else:
                high = middle
        positions[low] += 1
    ahead = np.empty(count, dtype=np.int64)
    running = 0
    for j in range(count):
        running += positions[j]
        ahead[j] = running
    # A match counts itself only ahead of those behind it: its own position is one past itself.
    return ahead


@compiled()
def _identities_ahead(row, mask, masked, bound, at, codes, own, seen, stamp):
    """Return the number of other identities with a kept entry ahead of (`bound`, `at`); marks `seen` with `stamp`."""
    identities = 0
    raised = np.nextafter(bound, row.dtype.type(np.inf))
    for start in range(0, row.size, 256):
        stop = min(start + 256, row.size)
        if _below(row[start:stop], raised) == 0:
            continue
        for i in range(start, stop):
            ahead = row[i] < bound or (row[i] == bound and i < at)
            if ahead and codes[i] != own and seen[codes[i]] != stamp and (not masked or mask[i] != 0):
                seen[codes[i]] = stamp
                identities += 1
    return identities
