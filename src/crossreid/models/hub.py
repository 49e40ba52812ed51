"""The hub that timm downloads weights from: checked once for an answer, so that a machine without internet waits only
for seconds.

By itself timm requests each of several files six times, for a minute in total, with a line each time.
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
REMEMBERED = 60.0  # seconds for which a silent hub is not asked again, such as for weights after a description

_silent: dict[str, float] = {}  # when an address last failed to answer


@contextmanager
def offline_unless_it_answers() -> Iterator[bool]:
    """Yield whether the hub answers; if not, only the cache is used within the block."""
    answers = it_answers()
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not answers
    try:
        yield answers
    finally:
        constants.HF_HUB_OFFLINE = before


def weights_of(repository: str) -> Path:
    """The weight file of a repository `OWNER/NAME` or `OWNER/NAME@REVISION`, from the cache or the hub.

    Raises:
        OSError, ValueError: as raised by the hub's client.
    """
    bare, _, revision = repository.partition("@")
    try:
        return Path(hf_hub_download(bare, "model.safetensors", revision=revision or None))
    except EntryNotFoundError:
        return Path(hf_hub_download(bare, "pytorch_model.bin", revision=revision or None))


def it_answers(address: str | None = None) -> bool:
    """Whether the hub, or the host of another address, gives any answer within `SECONDS`.

    The time includes the name lookup, and proxies and similar settings apply. A silent host is asked again after
    `REMEMBERED`.
    """
    asked = address or constants.ENDPOINT
    if time.monotonic() - _silent.get(asked, -REMEMBERED) < REMEMBERED:
        return False
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(asked, timeout=SECONDS)
        except Exception:  # raised by whichever library the hub's client is built on
            return
        answered.set()

    # In a thread, as a name lookup has no timeout.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS)
    if not answered.is_set():
        _silent[asked] = time.monotonic()
    return answered.is_set()
