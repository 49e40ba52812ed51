"""A camera's tracker as bytes, so that a watch that was killed resumes as if it had not been.

It is a pickle, as the library's trackers have no other serialisation; it is read with a short allow-list of classes, so
that a folder from elsewhere can't run anything. Bytes from another version of the library are not read.
"""

from __future__ import annotations

import io
import pickle
from functools import cache
from importlib import metadata
from typing import Any

from crossreid.watching.tracking.camera_tracker import CameraTracker

version = cache(metadata.version)  # cached, as parsing a library's metadata takes as long as the rest of a step
_FORM = 1
_PLAIN = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy._core.numeric", "_frombuffer"), ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"), ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("crossreid.data.records", "Modality"), ("crossreid.watching.tracking.track", "Track"),
    ("crossreid.watching.tracking.camera_tracker", "Meeting"), ("crossreid.watching.tracking.key_frames", "KeyFrames"),
    ("crossreid.watching.tracking.key_frames", "Candidate"),
}  # fmt: skip
_LIBRARY = ("trackers.core.", "trackers.utils.")


def kept(tracker: CameraTracker) -> bytes:
    """The full state of a tracker."""
    return pickle.dumps(
        {
            "form": _made_by(), "library": tracker.library, "tracks": tracker.tracks, "meetings": tracker.meetings,
            "next": tracker.next_number, "done": tracker.done, "modality": tracker.modality,
        },
        protocol=5,
    )  # fmt: skip


def restore(tracker: CameraTracker, content: bytes) -> bool:
    """Restore a new tracker from the output of `kept`; False, with no change, for bytes that can't be used."""
    try:
        found = _Reader(io.BytesIO(content)).load()
        if found["form"] != _made_by():
            return False
        fields = (found["library"], found["tracks"], found["meetings"], found["next"], found["done"], found["modality"])
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError):
        return False
    tracker.library, tracker.tracks, tracker.meetings, tracker.next_number, tracker.done, tracker.modality = fields
    return True


def without(content: bytes, camera: str, before: float) -> bytes | None:
    """The output of `kept` without tracks last seen before this time; None if nothing usable is left."""
    tracker = CameraTracker(camera)
    if not restore(tracker, content) or tracker.time < before:
        return None
    tracker.forget(before)
    return kept(tracker)


def _made_by() -> list[Any]:
    return [_FORM, version("trackers"), version("numpy")]


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        if module.startswith(_LIBRARY):
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:  # a class of the library, not a function
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a tracker")
