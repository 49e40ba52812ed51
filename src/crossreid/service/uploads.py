"""Untrusted images: identified by their first bytes, measured before they are decoded, refused with a reason."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from fastapi import UploadFile
from torch import Tensor

from crossreid.data.images import Decode, ImageTooLarge, NotAnImage
from crossreid.data.levels import query_levels
from crossreid.data.records import DataError, PictureLevels
from crossreid.service.refusals import Refusal
from crossreid.service.search_service import SearchService

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Uploads:
    """The images of one request, read; `digests` are the SHA-256 of each file."""

    service: SearchService
    names: Sequence[str]
    contents: Sequence[bytes]
    digests: list[str]

    @classmethod
    async def read(cls, service: SearchService, files: Sequence[UploadFile]) -> Uploads:
        """Raises `Refusal` (422) if there is none, or more than a request may hold."""
        most = service.options.max_images
        if not 1 <= len(files) <= most:
            raise Refusal(422, f"images: expected 1 to {most}, found {len(files)}.")
        contents = [await file.read() for file in files]
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        return cls(service, [file.filename or "" for file in files], contents, digests)

    async def inputs(self) -> list[Tensor]:
        """Input of the network, made as `crossreid embed` makes it: a large JPEG is decoded at a fraction of its size."""
        model = self.service.model
        size = (model.preprocessing.height, model.preprocessing.width)
        return await self.decoded(size, model.transform)

    async def decoded(self, size: tuple[int, int], make: Callable[[np.ndarray], Made]) -> list[Made]:
        """`make` applied to each image, decoded at no less than this height and width if it has them."""

        def one(content: bytes, name: str) -> Made:
            levels, most = query_levels(self.service.model.preprocessing.levels), self.service.options.max_pixels
            return make(pixels_of(content, name, most, size, self.service.decoders.decode, levels))

        pairs = zip(self.contents, self.names, strict=True)
        return await asyncio.gather(*(self.service.decode(one, content, name) for content, name in pairs))


def pixels_of(
    content: bytes,
    name: str,
    most: int,
    at_least: tuple[int, int] | None,
    decoding: Decode,
    levels: PictureLevels = None,
) -> np.ndarray:
    """The upload as `(H, W, 3)` uint8 RGB; see `decode`.

    Raises:
        Refusal: 413 for more than `most` pixels or too much time, 415 for a type not in `FORMATS`, 422 if empty or damaged.
    """
    shown = repr(name[:80]) if name else "the image"
    if not content:
        raise Refusal(422, f"{shown} is empty (0 bytes). Send an image.")
    try:
        return decoding(content, shown, at_least=at_least, most=most, formats=FORMATS, levels=levels)
    except ImageTooLarge as error:
        raise Refusal(413, str(error)) from error
    except NotAnImage as error:
        raise Refusal(415, f"{shown} is not {', '.join(FORMATS)}; convert it first.") from error
    except DataError as error:
        raise Refusal(422, f"{shown} is truncated or damaged and cannot be decoded; send it again.") from error
