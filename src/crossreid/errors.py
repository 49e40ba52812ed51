"""Errors meant for the user: each says what was expected, what was found, and what to do.

The command line prints them without a traceback and ends with status 2. Any other exception is a bug in the program and
keeps its traceback.
"""

from __future__ import annotations


class CrossreidError(ValueError):
    """A user's input cannot be used as it is. Rooms raise this class, or one of their own derived from it."""


NO_PAIRS = (
    "a batch has no identity in both modalities. Expected P x K batches with K split between them: "
    "check the training records or use the cross-modal sampler."
)
