"""Which files are images, by their names: what is read, and what pictures are that are not read.

Extensions count in any case: `.JPG` is `.jpg`.
"""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
JPEG = (".jpg", ".jpeg")
# Pictures and films of formats that are not decoded: who has them should hear that they were passed over.
NOT_READ = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2",
    ".raf", ".seq", ".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm",
)  # fmt: skip


def is_image(name: str) -> bool:
    """Whether a file is called as an image that is read."""
    return name.lower().endswith(SUFFIXES)


def images_in(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files in a folder that end in one of `suffixes`, in any case, sorted; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.name.lower().endswith(suffixes) and not path.name.startswith(".")
    )


def numbers_in_order(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names with the numbers in them as numbers: `frame9.jpg` before `frame10.jpg`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def reason_left_out(name: str) -> str:
    """Why a file is not among the images, in words that can be counted."""
    if name.startswith("."):
        return "hidden"
    suffix = Path(name).suffix.lower()
    if suffix in NOT_READ:
        return f"{suffix} is not read; convert such pictures to JPEG or PNG, films to pictures"
    return "not called an image"


class LeftOut:
    """Files that were passed over: how many for each reason, and the first of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, str] = {}

    def add(self, name: str, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.first.setdefault(reason, name)

    def take(self, other: LeftOut, *, but: str) -> None:
        """Add what another counted, without one reason."""
        for reason, count in other.counts.items():
            if reason != but:
                self.counts[reason] = self.counts.get(reason, 0) + count
                self.first.setdefault(reason, other.first[reason])

    def lines(self) -> list[str]:
        """A line a reason, the most frequent first."""
        return [
            f"left out, {count:,}: {reason} (for example {self.first[reason]})"
            for reason, count in sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        ]
