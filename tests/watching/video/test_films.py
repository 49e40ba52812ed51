"""Frames of real films, written here by PyAV: pixels, times, positions, and films that are damaged or entered in the middle."""

import itertools
import struct

import av
import numpy as np
import pytest
from PIL import Image

from crossreid.data.records import VISIBLE, DataError
from crossreid.watching.cameras import Camera
from crossreid.watching.video.decoding import frames_of
from crossreid.watching.video.films import film_frames
from crossreid.watching.video.reading_options import FrameCounts, ReadingOptions
from small_films import walking_people, write_film

COUNT = 40


@pytest.fixture(scope="module")
def pictures():
    return walking_people(COUNT, (64, 96))[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pictures):
    """Films of the same pictures: of several formats, cut off, and with bytes that were changed."""
    place = tmp_path_factory.mktemp("films")
    write_film(place / "plain.mp4", pictures, metadata={"creation_time": "2026-03-01T12:00:00Z"})
    whole = write_film(place / "first.mp4", pictures, options={"movflags": "faststart"}).read_bytes()
    (place / "cut.mp4").write_bytes(whole[: len(whole) * 7 // 10])
    begun = whole.find(b"mdat") + len(whole) // 3
    (place / "damaged.mp4").write_bytes(whole[:begun] + b"\xff" * 4000 + whole[begun + 4000 :])
    write_film(place / "plain.ts", pictures, format="mpegts")
    matroska = write_film(place / "plain.mkv", pictures).read_bytes()
    (place / "cut.mkv").write_bytes(matroska[: len(matroska) // 2])
    write_film(place / "plain.avi", pictures, codec="mpeg4")
    write_film(place / "raw.mjpeg", pictures, codec="mjpeg", format="mjpeg")
    write_film(place / "raw.h264", pictures, format="h264")
    (place / "frames").mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(place / "frames" / f"f{number}.png")
    return place


def read(path, first=0, light="visible", modality=None, *, start=None, offset=0.0, frame_rate=None, **options):
    counts = FrameCounts()
    camera = Camera("c", 1, str(path), light, offset, start, frame_rate)
    return list(frames_of(camera, ReadingOptions(**options), counts, first, modality)), counts


def facts(frames):
    return [(frame.index, frame.time, frame.modality, frame.image.tobytes()) for frame in frames]


def test_frames_are_those_that_were_written(folder, pictures):
    frames, counts = read(folder / "plain.mp4")
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert [frame.time for frame in frames] == pytest.approx([1772366400 + number / 10 for number in range(COUNT)])
    differences = [np.abs(f.image.astype(int) - p).mean() for f, p in zip(frames, pictures, strict=True)]
    assert max(differences) < 6
    other = [np.abs(f.image.astype(int) - p).mean() for f, p in zip(frames[1:], pictures, strict=False)]
    assert np.mean(differences) < 0.9 * np.mean(other)  # and not those beside them
    assert {(frame.camera, frame.modality, frame.image.dtype.name) for frame in frames} == {("c", VISIBLE, "uint8")}
    assert counts == FrameCounts(decoded=COUNT)


def test_a_folder_of_frames_is_exact_and_in_the_order_of_numbers(folder, pictures):
    frames, counts = read(folder / "frames", frame_rate=5, start=100.0, offset=-1.0)
    assert all((frame.image == picture).all() for frame, picture in zip(frames, pictures, strict=True))
    assert [frame.time for frame in frames] == pytest.approx([99 + number / 5 for number in range(COUNT)])
    assert facts(read(folder / "frames", 13, frame_rate=5, start=100.0, offset=-1.0)[0]) == facts(frames[13:])
    assert counts.decoded == COUNT


def test_times_are_of_the_file_the_start_and_the_offset(folder):
    assert read(folder / "plain.mp4", offset=2.5)[0][0].time == 1772366402.5
    assert read(folder / "plain.mp4", start=50.0, offset=2.5)[0][10].time == pytest.approx(53.5)
    assert read(folder / "plain.ts")[0][0].time == 0  # though its first packet says 0.2 s
    assert [frame.time for frame in read(folder / "raw.h264")[0][:3]] == pytest.approx([0, 0.04, 0.08])


def test_times_that_vary_and_repeat(tmp_path, pictures):
    times = [0, 1, 2, 10, 11, 30, 31, 32]
    film = write_film(tmp_path / "varying.mp4", pictures[:8], times=times)
    frames, counts = read(film)
    assert [frame.time for frame in frames] == pytest.approx([time / 10 for time in times])
    assert counts.mistimed == 0
    assert facts(read(film, 5)[0]) == facts(frames[5:])


@pytest.mark.parametrize(
    "name",
    ["plain.mp4", "damaged.mp4", "cut.mp4", "plain.ts", "plain.mkv", "cut.mkv", "plain.avi", "raw.mjpeg", "raw.h264"],
)
def test_entered_in_the_middle_it_is_as_read_through(folder, name):
    whole = read(folder / name)[0]
    assert whole
    for first in (1, 8, 9, 23, COUNT - 1, COUNT + 5):
        assert facts(read(folder / name, first)[0]) == facts([frame for frame in whole if frame.index >= first])


def test_it_is_entered_at_a_key_frame_and_not_read_through(folder):
    for name in ("plain.mp4", "plain.ts", "plain.avi"):
        begun = next(film_frames(Camera("c", 1, str(folder / name)), FrameCounts(), 35))
        assert 16 <= begun.index < 35, name


@pytest.mark.parametrize(("options", "expected"), [({"every": 4}, range(0, 40, 4)), ({"fps": 2.5}, range(0, 40, 4)),
                                                   ({"fps": 10}, range(40)), ({"fps": 60}, range(40))])  # fmt: skip
def test_some_frames_alone_also_when_entered_in_the_middle(folder, options, expected):
    for name in ("plain.mp4", "plain.mkv"):
        frames, counts = read(folder / name, **options)
        chosen = [frame.index for frame in frames]
        assert chosen == list(expected)
        assert counts.skipped == COUNT - len(expected)
        for first in (1, 6, 17, 38):
            assert facts(read(folder / name, first, **options)[0]) == facts([f for f in frames if f.index >= first])


def test_a_film_that_is_cut_off_ends_and_what_is_missing_is_counted(folder):
    frames, counts = read(folder / "cut.mp4")
    assert 10 < len(frames) < COUNT
    assert counts.corrupt == 1
    assert counts.missing == COUNT - frames[-1].index - 1
    frames, counts = read(folder / "cut.mkv")  # which says its length alone
    assert counts.missing == pytest.approx(COUNT - len(frames), abs=2)


def test_damaged_frames_are_counted_and_keep_their_positions(folder, pictures):
    frames, counts = read(folder / "damaged.mp4")
    assert counts.corrupt > 0
    assert len(frames) < COUNT
    assert frames[-1].index == COUNT - 1
    assert [frame.time for frame in frames] == pytest.approx([frame.index / 10 for frame in frames])


def test_pictures_of_a_folder_that_cannot_be_read_or_have_another_size_are_counted(tmp_path, pictures):
    for number in range(4):
        Image.fromarray(pictures[number]).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"nothing")
    Image.fromarray(pictures[2][::2, ::2]).save(tmp_path / "2.png")
    frames, counts = read(tmp_path)
    assert [(frame.index, frame.image.shape) for frame in frames] == [
        (0, (64, 96, 3)),
        (2, (32, 48, 3)),
        (3, (64, 96, 3)),
    ]
    assert (counts.corrupt, counts.resized) == (1, 2)


def test_a_film_that_changes_size_keeps_each_frame_as_it_is(tmp_path, pictures):
    parts = [pictures[:12], [picture[::2, ::2] for picture in pictures[12:24]]]
    joined = b"".join(
        write_film(
            tmp_path / f"{number}.ts", part, format="mpegts", times=list(range(12 * number, 12 * number + 12))
        ).read_bytes()
        for number, part in enumerate(parts)
    )
    (tmp_path / "both.ts").write_bytes(joined)
    frames, counts = read(tmp_path / "both.ts")
    assert [frame.image.shape[0] for frame in frames] == [64] * 12 + [32] * 12
    assert counts.resized == 1


def test_a_picture_that_was_held_sideways_is_turned(tmp_path, pictures):
    film = write_film(tmp_path / "plain.mp4", pictures[:3]).read_bytes()
    one = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    right_goes_down = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    track = film.index(b"tkhd")
    (tmp_path / "turned.mp4").write_bytes(film[:track] + film[track:].replace(one, right_goes_down, 1))
    upright = read(tmp_path / "plain.mp4")[0][0].image
    clockwise = upright[::-1].transpose(1, 0, 2)
    assert (read(tmp_path / "turned.mp4")[0][0].image == clockwise).all()


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4", "half.mp4", "folder", "sound.wav"])
def test_what_is_no_film_is_refused_by_name(tmp_path, folder, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "sound.wav":
        with av.open(str(path), "w") as out:
            stream = out.add_stream("pcm_s16le", rate=8000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            sound.rate = 8000
            out.mux(stream.encode(sound))
    else:
        path.write_bytes(
            {"empty": b"", "text": b"no film " * 99, "half": (folder / "plain.mp4").read_bytes()[:900]}[path.stem]
        )
    with pytest.raises(DataError, match=name):
        read(path)


def test_a_local_file_cannot_name_others(tmp_path, folder):
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhttp://127.0.0.1:9/{folder.name}.ts\n#EXT-X-ENDLIST\n"
    )
    with pytest.raises(DataError, match="cannot be opened"):
        read(tmp_path / "list.m3u8")


@pytest.mark.parametrize("name", ["first.mp4", "plain.ts", "plain.mkv", "plain.avi", "raw.h264"])
def test_a_film_with_any_bytes_changed_is_read_in_order_or_refused(tmp_path, folder, name):
    draw = np.random.default_rng(0)
    whole = np.frombuffer((folder / name).read_bytes(), np.uint8)
    given = 0
    for changes in (1, 10, 100, 400, 400, 400):
        content = whole.copy()
        content[draw.integers(0, len(content), changes)] = draw.integers(0, 256, changes)
        path = tmp_path / f"{changes}{name}"
        path.write_bytes(content[: draw.integers(len(content) // 3, len(content))].tobytes())
        for first in (0, 20):
            try:
                frames, _ = read(path, first)
            except DataError:
                continue
            given += len(frames)
            assert all(one.index < next.index and one.time < next.time for one, next in itertools.pairwise(frames))
            assert all(frame.index >= first for frame in frames)
    assert given > 20
