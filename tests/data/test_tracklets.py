"""Draws of sets, against their definitions and by counting; the readers of filmed sets, on rendered copies and official lists."""

import itertools
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from crossreid.data.catalogue import load
from crossreid.data.checking import check
from crossreid.data.readers import duke_video, mars
from crossreid.data.records import DataError, Modality, Record
from crossreid.data.synthetic import synthesise
from crossreid.data.tracklets import (
    Tracklet,
    across_cameras,
    across_tracklets,
    at_random,
    first_of_each_chunk,
    one_of_each_chunk,
    spread_over,
    tracklet_name,
    tracklets_of,
)

LISTS = Path(__file__).resolve().parents[3] / "shared" / "protocols" / "MARS"
LENGTHS, COUNTS = st.integers(1, 40), st.integers(1, 12)


@given(LENGTHS, COUNTS, st.integers(0, 99))
def test_one_place_of_each_equal_chunk(length, count, seed):
    for generator in (None, np.random.default_rng(seed)):
        places = one_of_each_chunk(length, count, generator)
        assert len(places) == count
        assert all(0 <= place < length for place in places)
        assert list(places) == sorted(places)
        times = Counter(places.tolist())
        if length >= count:
            for chunk, place in enumerate(places):
                # A whole place p covers [p, p + 1): it begins in its chunk, or the chunk's middle lies in it.
                assert chunk * length / count - 1 < place < (chunk + 1) * length / count
            assert len(times) == count
        else:
            assert len(times) == length
            assert max(times.values()) - min(times.values()) <= 1


def test_within_a_chunk_each_place_is_as_likely():
    generator = np.random.default_rng(0)
    drawn = np.stack([one_of_each_chunk(10, 4, generator) for _ in range(4000)])
    for column, places in enumerate(([0, 1, 2], [3, 4], [5, 6, 7], [8, 9])):
        counts = np.bincount(drawn[:, column], minlength=10)
        assert set(np.flatnonzero(counts)) == set(places)
        assert np.allclose(counts[places] / 4000, 1 / len(places), atol=0.03)


@given(LENGTHS, COUNTS, st.integers(0, 99))
def test_chunks_that_the_last_position_fills_up(length, count, seed):
    """The release's list, of size ceil(length / count) x count, cut into chunks: the first of each, or any."""
    size = -(-length // count)
    filled = [*range(length), *[length - 1] * (size * count - length)]
    chunks = [filled[chunk * size : (chunk + 1) * size] for chunk in range(count)]
    assert first_of_each_chunk(length, count).tolist() == [chunk[0] for chunk in chunks]
    assert spread_over(length, count, "first").tolist() == [chunk[0] for chunk in chunks]
    drawn = first_of_each_chunk(length, count, np.random.default_rng(seed)).tolist()
    assert all(position in chunk for position, chunk in zip(drawn, chunks, strict=True))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), COUNTS, st.integers(0, 99))
def test_tracklets_take_turns(sizes, count, seed):
    ends = np.cumsum(sizes)
    groups = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    drawn = across_tracklets(groups, count, np.random.default_rng(seed))
    times = Counter(int(np.searchsorted(ends, member, side="right")) for member in drawn)
    assert len(drawn) == count
    assert max(times.values()) - min(times.get(group, 0) for group in range(len(sizes))) <= 1


@given(LENGTHS, COUNTS)
def test_a_short_tracklet_is_tested_whole(length, count):
    places = spread_over(length, count)
    assert len(places) == len(set(places.tolist())) == min(length, count)


@given(LENGTHS, COUNTS, st.integers(0, 99))
def test_a_random_draw_takes_none_twice_before_all_were_taken(length, count, seed):
    times = Counter(at_random(length, count, np.random.default_rng(seed)).tolist())
    assert sum(times.values()) == count
    assert max(times.values()) - min(times.values() if len(times) == length else [0]) <= 1
    assert len(times) == min(length, count)


def test_the_first_of_a_random_draw_are_a_uniform_draw_themselves():
    generator = np.random.default_rng(0)
    pairs = Counter(frozenset(at_random(6, 4, generator)[:2].tolist()) for _ in range(6000))
    assert len(pairs) == 15
    assert all(abs(count - 400) < 5 * 20 for count in pairs.values())


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), COUNTS, st.integers(0, 99))
def test_cameras_share_a_set_as_evenly_as_they_can(sizes, count, seed):
    edges = np.cumsum([0, *sizes])
    groups = [np.arange(a, b) for a, b in itertools.pairwise(edges)]
    drawn = across_cameras(groups, count, np.random.default_rng(seed))
    assert len(drawn) == count
    times = Counter(drawn.tolist())
    again, left = divmod(count, sum(sizes))
    assert all(again <= times[index] <= again + 1 for group in groups for index in group)
    extra = [sum(times[index] for index in group) - again * len(group) for group in groups]
    # No camera gives fewer than another by two, unless it gave all that it has.
    assert sum(extra) == left
    assert all(share >= max(extra) - 1 or share == size for share, size in zip(extra, sizes, strict=True))


def test_which_camera_gives_one_more_is_drawn():
    generator = np.random.default_rng(0)
    groups = [np.arange(0, 5), np.arange(5, 10), np.arange(10, 15)]
    drawn = np.stack([across_cameras(groups, 4, generator) for _ in range(3000)])
    shares = np.stack([(drawn // 5 == camera).sum(1) for camera in range(3)], axis=1)
    assert set(np.unique(shares)) == {1, 2}
    assert np.allclose((shares == 2).mean(0), 1 / 3, atol=0.03)
    assert np.allclose(np.bincount(drawn.ravel(), minlength=15) / drawn.size, 1 / 15, atol=0.008)
    assert np.allclose(np.bincount(drawn[:, 0], minlength=15) / len(drawn), 1 / 15, atol=0.02)


@pytest.mark.parametrize("draw", [one_of_each_chunk, lambda n, k: at_random(n, k, np.random.default_rng(0))])
def test_there_is_nothing_to_draw_of_nothing(draw):
    for length, count in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least one image to draw from"):
            draw(length, count)


def test_records_are_grouped_by_who_where_and_which_film():
    def record(name, identity="a", camera=1, modality=Modality.VISIBLE, tracklet="t", frame=-1):
        return Record(Path(name), identity, camera, modality, tracklet, frame=frame)

    films = tracklets_of(
        [
            record("1", frame=5), record("0", frame=7), record("2", camera=2), record("3", identity="b"),
            record("4", modality=Modality.INFRARED), record("5", tracklet="u"), record("6", tracklet=None),
            record("7", tracklet=None),
        ]
    )  # fmt: skip
    assert [[frame.path.name for frame in film.frames] for film in films] == [
        ["1", "0"], ["4"], ["5"], ["6"], ["7"], ["2"], ["3"]
    ]  # fmt: skip
    assert len({film.name for film in films}) == 7
    assert (films[1].identity, films[1].camera, films[1].modality) == ("a", 1, Modality.INFRARED)
    with pytest.raises(DataError, match="tracklet 'x' is empty"):
        Tracklet("x", ())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("films")
    for layout in ("mars", "duke-video", "tracklets"):
        synthesise(place / layout, layout, 8, 3, images_per_camera=4, size=(32, 16), workers=1)
    return place


def test_mars(world):
    split = load("mars", world / "mars", validation=2)
    identities = [{record.identity for record in part} for part in (split.train, split.validation, split.query)]
    assert [len(found) for found in identities] == [4, 2, 2]
    assert len(set.union(*identities)) == 8
    gallery = tracklets_of(split.gallery)
    assert set(split.query) <= set(split.gallery)
    assert {"0", "-1"} < {film.identity for film in gallery}
    assert len({len(film.frames) for film in gallery}) > 2
    listed = loadmat(world / "mars" / "info" / "tracks_test_info.mat")["track_test_info"]
    assert sorted(len(film.frames) for film in gallery) == sorted((listed[:, 1] - listed[:, 0] + 1).astype(int))
    for film in gallery:
        assert all(int(frame.path.name[5]) == frame.camera for frame in film.frames)
        assert len({frame.path.name.rpartition("F")[0] for frame in film.frames}) == 1
        assert [frame.path.name for frame in film.frames] == sorted(frame.path.name for frame in film.frames)
    assert check("mars", world / "mars", deep=True, workers=1).ok


def test_duke_video_in_both_layouts(world, tmp_path):
    split = load("duke-video", world / "duke-video")
    assert {record.identity for record in split.query} < {record.identity for record in split.gallery}
    assert not set(split.query) & set(split.gallery)
    old = tmp_path / "old"
    for path in (world / "duke-video").rglob("*.jpg"):
        target = old / path.relative_to(world / "duke-video").with_name(path.name.replace("_", ""))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    again = load("duke-video", old)
    for part in ("train", "query", "gallery"):
        pairs = zip(getattr(split, part), getattr(again, part), strict=True)
        assert all(
            (a.identity, a.camera, a.frame, a.tracklet) == (b.identity, b.camera, b.frame, b.tracklet) for a, b in pairs
        )
    report = check("duke-video", world / "duke-video")
    assert report.ok
    assert {what: found for what, _, found in report.rows}["query tracklets"] == "2"


def test_duke_tracklets_of_one_identity_and_camera_are_one(world):
    split, joined = (load("duke-video", world / "duke-video", tracklets=what) for what in ("folders", "camera"))
    for part in ("train", "query", "gallery"):
        before, after = (tracklets_of(getattr(s, part)) for s in (split, joined))
        assert len(after) == len({(film.identity, film.camera) for film in before}) <= len(before)
        for film in after:
            folders = [f.frames for f in before if (f.identity, f.camera) == (film.identity, film.camera)]
            assert [frame.path for frame in film.frames] == [frame.path for frames in folders for frame in frames]
    assert len(tracklets_of(joined.gallery)) < len(tracklets_of(split.gallery))
    with pytest.raises(DataError, match="tracklets is 'x'; expected one of: folders, camera"):
        load("duke-video", world / "duke-video", tracklets="x")


def test_tracklets_of_both_modalities_in_a_manifest(world):
    split = load("manifest", world / "tracklets")
    assert {record.modality for record in split.query} == {Modality.INFRARED}
    assert {record.modality for record in split.gallery} == {Modality.VISIBLE}
    assert len(tracklets_of(split.query)) < len(split.query)
    assert all(len({frame.path.parent for frame in film.frames}) == 1 for film in tracklets_of(split.train))


def edited(root, **changes):
    path = root / "info" / "tracks_test_info.mat"
    rows = loadmat(path)["track_test_info"]
    for column, value in changes.items():
        rows[1, ("first", "last", "identity", "camera").index(column)] = value
    savemat(path, {"track_test_info": rows})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: edited(root, last=0), "tracklet 2 is empty"),
        (lambda root: edited(root, last=10**6), "lists"),
        (lambda root: edited(root, identity=77), "has identity 77, but image"),
        (lambda root: edited(root, camera=0), "camera is 0"),
        (lambda root: savemat(root / "info" / "query_IDX.mat", {"query_IDX": [[999]]}), "expected tracklet numbers from 1 to"),
        (lambda root: (root / "info" / "query_IDX.mat").write_bytes(b"x"), "no readable matrix query_IDX"),
        (lambda root: (root / "info" / "train_name.txt").unlink(), "`info/train_name.txt` not found"),
    ],
)  # fmt: skip
def test_mars_lists_that_cannot_be_right_are_named(world, tmp_path, change, told):
    shutil.copytree(world / "mars" / "info", tmp_path / "info")
    change(tmp_path)
    with pytest.raises(DataError, match=r"docs/datasets\.md#mars") as error:
        mars.parse(tmp_path)
    assert told in str(error.value)


def test_duke_folders_that_cannot_be_right_are_named(world, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(world / "duke-video", root)
    one = next(iter(sorted((root / "query").glob("*/*"))))
    image = next(iter(one.iterdir()))
    image.rename(one / "holiday.jpg")
    with pytest.raises(DataError, match=r"holiday\.jpg: expected a name like"):
        load("duke-video", root)
    (one / "holiday.jpg").rename(one / image.name.replace(image.name[:4], "0099"))
    with pytest.raises(DataError, match="is in the folder of identity"):
        load("duke-video", root)
    shutil.rmtree(one)
    one.mkdir()
    with pytest.raises(DataError, match="is empty"):
        load("duke-video", root)
    shutil.rmtree(root / "gallery")
    one.rmdir()
    with pytest.raises(DataError, match="`gallery/` not found"):
        duke_video.parse(root)


@pytest.mark.skipif(not LISTS.is_dir(), reason="the official MARS lists are not here")
def test_mars_official_lists(tmp_path):
    info = tmp_path / "info"
    shutil.copytree(LISTS, info)
    rows = loadmat(info / "tracks_test_info.mat")["track_test_info"].astype(int)
    assert (len(rows), int((rows[:, 1] - rows[:, 0] + 1).sum())) == (12_180, 681_089)
    rows[:, 1] = np.minimum(
        rows[:, 1] - rows[:, 0] + 1, 3
    ).cumsum()  # three frames a tracklet: a parse of all takes long
    rows[:, 0] = np.concatenate(([1], rows[:-1, 1] + 1))
    savemat(info / "tracks_test_info.mat", {"track_test_info": rows})
    names = [  # the official names are not here: what the tracklets say of them
        f"{'00-1' if identity == -1 else f'{identity:04d}'}C{camera}T{number:04d}F{place - first + 1:03d}.jpg"
        for number, (first, last, identity, camera) in enumerate(rows.tolist(), start=1)
        for place in range(first, last + 1)
    ]
    (info / "test_name.txt").write_text("\n".join(names))
    test = mars.tracks(tmp_path, "test")
    assert (len(test), sum(map(len, test))) == (12_180, len(names))
    asked = [test[row][0] for row in mars.query_rows(tmp_path, len(test))]
    assert (len(asked), len({record.identity for record in asked})) == (1980, 626)
    names = Counter(frames[0].identity for frames in test)
    assert (names["0"], names["-1"]) == (3248, 870)
    assert len({tracklet_name(frames[0]) for frames in test}) == 12_180


def test_parts_of_one_picture_are_of_no_tracklet_together():
    parts = [Record(Path("p.jpg"), name, box=box) for name, box in (("a", (0, 0, 9, 9)), ("b", (9, 0, 19, 9)))]
    assert [tracklet.frames for tracklet in tracklets_of(parts)] == [(parts[0],), (parts[1],)]
