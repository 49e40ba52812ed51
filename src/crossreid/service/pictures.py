"""The image of an entry: a small copy that the service kept, or the file named by its source, under an allowed folder.

Whatever is shown is decoded and re-encoded as JPEG: none of the file's metadata, such as a location, is sent.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from crossreid.data.images import Decode, decode_in_time, load_image
from crossreid.data.levels import Levels, queries_with_levels
from crossreid.data.records import DataError, Record
from crossreid.galleries.entries import Entry
from crossreid.galleries.fragments import file_of
from crossreid.service.kept_images import KeptImages


class Pictures:
    """Where images of entries are found. `roots` are the folders under which files may be shown, `decoding` decodes them, and
    `levels` maps 16 bits to 8 as the model saw them."""

    def __init__(
        self,
        roots: Sequence[Path],
        kept: KeptImages | None = None,
        decoding: Decode = decode_in_time,
        levels: Levels = "full",
    ) -> None:
        self.roots = [root.resolve() for root in roots]
        self.kept, self._decoding, self._levels = kept, decoding, levels

    def known(self, entries: Sequence[Entry]) -> list[bool]:
        """Whether an image can be shown, per entry."""
        kept = self.kept.has([entry.id for entry in entries]) if self.kept is not None else set()
        return [entry.id in kept or file_of(entry.source, self.roots) is not None for entry in entries]

    def of_files(self, entries: Sequence[Entry], contents: Sequence[bytes]) -> list[bool]:
        """Whether each entry's file, if it may be shown, has one of these contents."""
        sizes = {len(content) for content in contents}
        return [bool(sizes) and self._content(entry, sizes) in contents for entry in entries]

    def _content(self, entry: Entry, sizes: set[int]) -> bytes | None:
        """The content of an entry's file if it is a whole image of one of these sizes."""
        found = file_of(entry.source, self.roots)
        try:
            if found is None or found[1] is not None or found[0].stat().st_size not in sizes:
                return None
            return found[0].read_bytes()
        except OSError:
            return None

    def pixels(self, entry: Entry) -> np.ndarray | None:
        """`(H, W, 3)` uint8 RGB, cropped if the source has a box; None if there is no image or it cannot be read."""
        if self.kept is not None and (content := self.kept.get(entry.id)) is not None:
            return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        found = file_of(entry.source, self.roots)
        if found is None:
            return None
        try:
            shown = [Record(found[0], "", entry.camera, box=found[1])]
            return load_image(queries_with_levels(shown, self._levels)[0], decoding=self._decoding)
        except (DataError, OSError):
            return None


def as_jpeg(pixels: np.ndarray, side: int) -> bytes:
    """Pixels `(H, W, 3)` uint8 as JPEG, shrunk to `side` pixels if larger."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue()
