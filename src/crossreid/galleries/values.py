"""Valid values of an entry's fields: texts, cameras, modalities, times, embeddings. All are checked here.

Times are seconds since 1970-01-01 UTC, as float64; `utc_seconds` reads ISO 8601.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from crossreid.data.records import DataError, Modality, iso_seconds
from crossreid.errors import CrossreidError

# Bytes of UTF-8; what both backends hold.
LIMITS = {"id": 512, "identity": 512, "source": 4096}
LATEST = 1e15  # seconds before or after 1970; larger values are in smaller units
_BLOCK = 65_536


def unit_rows(embeddings: np.ndarray, what: str = "embeddings") -> np.ndarray:
    """`(N, D)` float32 unit vectors, contiguous. Raises `DataError` naming the first NaN, infinite or all-zero row."""
    rows = np.asarray(embeddings)
    if rows.ndim != 2:
        raise DataError(f"{what}: expected an array (N, D), found shape {rows.shape}.")
    if rows.dtype.kind not in "fiu":
        raise DataError(f"{what}: expected numbers, found {rows.dtype}.")
    units = np.empty(rows.shape, dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64)
        # Divided by the largest value first: squares of very small or very large numbers underflow or overflow.
        largest = np.abs(block).max(axis=1, initial=0.0)
        bad = ~np.isfinite(largest) | (largest == 0)
        if bad.any():
            row = int(bad.argmax())
            kind = "all zeros" if largest[row] == 0 else "NaN or infinite"
            raise DataError(f"{what}: row {start + row} is {kind}; embed it again.")
        block /= largest[:, None]
        units[start : start + _BLOCK] = block / np.sqrt(np.square(block).sum(axis=1, keepdims=True))
    return units


def utc_seconds(time: float | str | datetime) -> float:
    """Seconds since 1970 UTC from a number, ISO 8601 text or a datetime; without a zone, UTC.

    Raises:
        CrossreidError: an invalid or non-finite time.
    """
    if isinstance(time, str):
        text = time.strip()
        if len(text) == 4 and text.isdecimal():
            raise CrossreidError(f"time {time!r}: is it a year? Write {text}-01-01 for its beginning.")
        try:
            time = iso_seconds(text)
        except ValueError as error:
            try:
                time = float(text)
            except ValueError:
                raise CrossreidError(
                    f"time {time!r}: expected ISO 8601, for example 2026-11-21T08:30:00Z, or seconds since 1970 UTC."
                ) from error
    if isinstance(time, datetime):
        time = iso_seconds(time)
    if (
        isinstance(time, bool)
        or not isinstance(time, int | float | np.integer | np.floating)
        or not math.isfinite(time)
    ):
        raise CrossreidError(f"time {time!r}: expected finite seconds since 1970 UTC.")
    if abs(time) > LATEST:
        raise CrossreidError(f"time {time!r}: expected seconds since 1970 UTC, not milliseconds or less.")
    return float(time)


def modality_of(value: Modality | int | str) -> Modality:
    """`Modality` from its value or its name, visible or infrared. Raises `CrossreidError`."""
    try:
        return Modality[value.upper()] if isinstance(value, str) else Modality(value)
    except (KeyError, ValueError) as error:
        raise CrossreidError(f"modality {value!r}: expected visible or infrared.") from error


def check_texts(texts: Sequence[str], what: str) -> None:
    """Raise `DataError` naming the first that is not a string, too long, or not storable as UTF-8 or in a database."""
    for text in texts:
        # Most texts are short and plain: one test recognises them.
        if isinstance(text, str) and text.isascii() and len(text) <= LIMITS[what] and "\0" not in text:
            continue
        if not isinstance(text, str):
            raise DataError(f"{what}: expected text, found {type(text).__name__}.")
        try:
            length = len(text.encode())
        except UnicodeEncodeError as error:
            raise DataError(f"{what} {text!r} is not valid Unicode ({error.reason}).") from error
        if length > LIMITS[what]:
            raise DataError(
                f"{what} {text[:40]!r}... has {length} bytes of UTF-8; at most {LIMITS[what]} can be stored."
            )
        if "\0" in text:
            raise DataError(f"{what} {text!r} contains a NUL character, which cannot be stored.")


def camera_of(value: int) -> int:
    """A camera's number. Raises `CrossreidError` for an invalid one."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**31:
        raise CrossreidError(f"camera {value!r}: expected a whole number from 0 (unknown) to 2^31 - 1.")
    return int(value)
