"""The hub that timm fetches weights from: asked once whether it answers, so that a machine without internet waits for seconds only.

By itself timm asks for each of several files, each six times, for a minute in all, with a line a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.utils import get_session

SECONDS = 4.0
REMEMBERED = 60.0  # seconds for which a silent one is not asked again: for the weights after the description, say

_silent: dict[str, float] = {}  # when an address was found silent


@contextmanager
def offline_unless_it_answers() -> Iterator[bool]:
    """Whether the hub answers; in a block where it does not, what is in the cache is taken and nothing is asked for."""
    answers = it_answers()
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not answers
    try:
        yield answers
    finally:
        constants.HF_HUB_OFFLINE = before


def weights_of(repository: str) -> Path:
    """The file of weights of a repository `OWNER/NAME` or `OWNER/NAME@REVISION`, from the cache or the hub.

    Raises:
        OSError, ValueError: as the hub's client raises what it comes across.
    """
    bare, _, revision = repository.partition("@")
    try:
        return Path(hf_hub_download(bare, "model.safetensors", revision=revision or None))
    except EntryNotFoundError:
        return Path(hf_hub_download(bare, "pytorch_model.bin", revision=revision or None))


def it_answers(address: str | None = None) -> bool:
    """Whether the hub, or the host of another address, gives any answer within `SECONDS`.

    Looking up its name counts, and so do proxies and whatever else is set. One that gave none is asked again after `REMEMBERED`.
    """
    asked = address or constants.ENDPOINT
    if time.monotonic() - _silent.get(asked, -REMEMBERED) < REMEMBERED:
        return False
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(asked, timeout=SECONDS)
        except Exception:  # of several libraries, whichever the hub's client is built on
            return
        answered.set()

    # A thread, as looking up a name has no limit of its own.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS)
    if not answered.is_set():
        _silent[asked] = time.monotonic()
    return answered.is_set()
