"""The errors that are meant for the person who runs the program: each says what was expected, what was found, what to do.

The command line prints these in lines of their own and ends with status 2. Any other exception is a bug of the program
and keeps its traceback.
"""

from __future__ import annotations


class CrossreidError(ValueError):
    """Something that a user gave cannot be used as it is. Rooms raise it, or a class of their own derived from it."""


NO_PAIRS = (
    "a batch has no identity in both modalities. Expected P x K batches with K split between them: "
    "check the training records or use the cross-modal sampler."
)
