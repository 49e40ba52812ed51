"""Which files are images, by their names: those that are read, and pictures that are not supported.

Extensions are case-insensitive: `.JPG` is `.jpg`.
"""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
JPEG = (".jpg", ".jpeg")
# Picture and video formats that are not decoded: users should be told that they were skipped.
NOT_READ = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2",
    ".raf", ".seq", ".mp4", ".mov", ".avi", ".mkv", ".m4v", ".webm",
)  # fmt: skip


def is_image(name: str) -> bool:
    """Return whether a file name is that of a supported image."""
    return name.lower().endswith(SUFFIXES)


def images_in(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Return the files in a folder that end in one of `suffixes`, in any case, sorted; none if there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.name.lower().endswith(suffixes) and not path.name.startswith(".")
    )


def numbers_in_order(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names numerically: `frame9.jpg` before `frame10.jpg`."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def reason_left_out(name: str) -> str:
    """Say why a file is not among the images, in a form that can be counted."""
    if name.startswith("."):
        return "hidden"
    suffix = Path(name).suffix.lower()
    if suffix in NOT_READ:
        return f"{suffix} is not read; convert such pictures to JPEG or PNG, and videos to frames"
    return "not named like an image"


class LeftOut:
    """Skipped files: how many for each reason, and the first of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, str] = {}

    def add(self, name: str, reason: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.first.setdefault(reason, name)

    def take(self, other: LeftOut, *, but: str) -> None:
        """Add the counts of another one, without one reason."""
        for reason, count in other.counts.items():
            if reason != but:
                self.counts[reason] = self.counts.get(reason, 0) + count
                self.first.setdefault(reason, other.first[reason])

    def lines(self) -> list[str]:
        """Return a line per reason, most frequent first."""
        return [
            f"left out, {count:,}: {reason} (for example {self.first[reason]})"
            for reason, count in sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        ]
