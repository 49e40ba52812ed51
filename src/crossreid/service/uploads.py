"""Images that strangers send: told by their first bytes, measured before they are decoded, refused in words."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from crossreid.data.images import ImageTooLarge, NotAnImage, decode
from crossreid.data.records import DataError
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.service.refusals import Refusal
from crossreid.service.settings import FORMATS


@dataclass(frozen=True, eq=False, slots=True)
class Query:
    """Images `(n, 3, H, W)`, transformed, of modalities `(n,)`: a set for one embedding, or images for one each."""

    images: Tensor
    modalities: Tensor
    what: Literal["images", "set"]

    def __len__(self) -> int:
        return len(self.images)


def pixels_of(content: bytes, name: str, most: int, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """What was sent as `(H, W, 3)` uint8 RGB; see `decode`.

    Raises:
        Refusal: 413 of more than `most` pixels, 415 of another type than `FORMATS`, 422 empty or damaged.
    """
    shown = repr(name[:80]) if name else "the image"
    if not content:
        raise Refusal(422, f"{shown} is empty (0 bytes). Send an image.")
    try:
        return decode(io.BytesIO(content), shown, at_least=at_least, most=most, formats=FORMATS)
    except ImageTooLarge as error:
        raise Refusal(413, str(error)) from error
    except NotAnImage as error:
        raise Refusal(415, f"{shown} is none of {', '.join(FORMATS)}; convert it first.") from error
    except DataError as error:
        raise Refusal(422, f"{shown} is truncated or damaged and cannot be decoded; send it again.") from error
    except Exception as error:  # decoders of hostile bytes raise whatever they stumble over
        raise Refusal(422, f"{shown} cannot be decoded ({type(error).__name__}); send it again.") from error


def embed_queries(model: EmbeddingModel, queries: list[Query]) -> list[np.ndarray]:
    """Embeddings of what many requests sent, in one pass of single images and one of sets: `(n, D)` or of a set `(1, D)`."""
    found: list[np.ndarray] = [np.empty(0)] * len(queries)
    for what in ("images", "set"):
        places = [place for place, query in enumerate(queries) if query.what == what]
        if not places:
            continue
        images = torch.cat([queries[place].images for place in places])
        modalities = torch.cat([queries[place].modalities for place in places])
        ends = np.cumsum([len(queries[place]) for place in places])
        if what == "set":
            sets = [range(end - len(queries[place]), end) for place, end in zip(places, ends, strict=True)]
            parts = list(model.embed_sets(images, modalities, sets).numpy()[:, None])
        else:
            parts = np.split(model.embed(images, modalities).numpy(), ends[:-1])
        for place, part in zip(places, parts, strict=True):
            found[place] = part
    return found
