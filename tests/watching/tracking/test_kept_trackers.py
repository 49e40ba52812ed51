"""What trackers keep in a watch's state: no image that was forgotten, none at all without images; and files of tracks that follow."""

import shutil
from pathlib import Path

import pytest

from crossreid.watching import open_watch
from crossreid.watching.identities.decisions import ask_forget, ask_merge
from crossreid.watching.identities.state import open_state
from crossreid.watching.tracking.kept_trackers import KeptTrackers
from crossreid.watching.watch import watch

ALL, JPEG = 1e9, b"\xff\xd8\xff"


FILMS = ["gate.mp4#modality=visible", "yard.mp4#modality=visible"]


def watched(out, films=FILMS, **options):
    return watch(films, out, model="runs/mine", detector="detections", device="cpu", **options)


def kept(folder):
    with open_state(folder, read_only=True) as state:
        return KeptTrackers(state.database).read("gate")


def rows(folder):
    return [
        tuple(map(int, line.split(",")[:2]))
        for path in sorted(Path(folder, "tracks").iterdir())
        for line in path.read_text().splitlines()
    ]


@pytest.fixture(scope="module")
def begun(two_films):
    """A watch that was ended in the middle of its films."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(two_films)
        assert not watched("begun", until=2.5).complete
    return two_films / "begun"


def test_what_is_forgotten_is_not_in_what_trackers_keep(begun, two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    shutil.copytree(begun, "forgetting")
    folder = Path("forgetting")
    assert JPEG in kept(folder)
    assert ask_forget(folder, 0.0, "ana") == 0
    assert JPEG in kept(folder)  # of nothing that is older
    assert ask_forget(folder, ALL, "ana") > 0
    assert kept(folder) is None
    assert rows(folder) == []
    assert not any(JPEG in path.read_bytes() for path in folder.iterdir() if path.is_file())
    assert watched(folder).complete
    assert min(frame for frame, _ in rows(folder)) > 20  # what was kept last is of the second second


def test_a_watching_process_forgets_what_it_was_about_to_report(two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    asked = []

    def report(counts, identities):
        frames = counts[0].frames
        if frames >= 25 and not asked:
            assert ask_forget(Path("asked"), ALL, "ana") is None
            asked.append(frames)

    assert watched("asked", report=report).complete
    assert min(frame for frame, _ in rows("asked")) > asked[0]


@pytest.mark.parametrize("tracker", ["bytetrack", "botsort"])
def test_without_images_trackers_keep_none(two_films, monkeypatch, tracker):
    monkeypatch.chdir(two_films)
    watched(f"plain-{tracker}", FILMS[:1], until=2.5, keep_images=False, tracking={"tracker": tracker})
    content = kept(f"plain-{tracker}")
    assert JPEG not in content
    assert b"_prev_frame_gray" not in content  # of what compensates the motion of a camera


def test_files_of_tracks_are_written_while_it_is_watched(two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    monkeypatch.setattr(open_watch, "TRACKS_EACH", 0.0)
    monkeypatch.setattr(open_watch, "_SHARE", 0.0)
    found = []

    def report(counts, identities):
        path = Path("written", "tracks", "gate.txt")
        found.append(len(path.read_text().splitlines()) if path.exists() else 0)

    watched("written", FILMS[:1], report=report)
    assert 0 < found[-3] < found[-1] == len(Path("written", "tracks", "gate.txt").read_text().splitlines())


def test_files_of_tracks_follow_what_people_decide(begun, two_films, monkeypatch):
    monkeypatch.chdir(two_films)
    shutil.copytree(begun, "merged")
    numbers = sorted({number for _, number in rows("merged")})
    with open_state(Path("merged"), read_only=True) as state:
        seen = {one.identity: one.cameras for one in state.identities()}
    one, other = next(
        (a, b) for a in numbers for b in numbers if seen[f"g{a}"] == ("gate",) and seen[f"g{b}"] == ("yard",)
    )
    assert ask_merge(Path("merged"), f"g{one}", f"g{other}", "ana").kind == "merged"
    assert {number for _, number in rows("merged")} == set(numbers) - {other}
