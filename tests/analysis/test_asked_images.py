"""Which images the analyses of runs look at."""

from pathlib import Path

from crossreid.analysis.asked_images import choose_images, some_identities
from crossreid.data.records import Record


def records(identities=6, cameras=3, images=4):
    return [
        Record(Path(f"{identity}-{camera}-{image}.png"), str(identity), camera, tracklet=f"{camera}", frame=image)
        for identity in range(identities) for camera in range(1, cameras + 1) for image in range(images)
    ]  # fmt: skip


def test_images_are_chosen_of_different_identities_and_cameras():
    chosen = choose_images(records(), 6, 0)
    assert len({record.identity for record in chosen}) == 6
    assert sorted(record.camera for record in chosen) == [1, 1, 2, 2, 3, 3]
    assert chosen == choose_images(records(), 6, 0)
    assert any(chosen != choose_images(records(), 6, seed) for seed in (1, 2))
    assert len(choose_images(records(), 7, 0)) == 6


def test_of_many_images_whole_identities_are_kept():
    every = records()
    assert some_identities(every, 72, 0) == every
    kept = some_identities(every, 40, 0)
    sizes = [sum(record.identity == name for record in kept) for name in {record.identity for record in kept}]
    assert sizes == [12, 12, 12]
    assert len({record.identity for record in some_identities(every, 1, 0)}) == 2  # or there were nobody to confuse
