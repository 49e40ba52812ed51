"""How tracklets become identities: probability thresholds, priors, times and limits."""

from __future__ import annotations

from pydantic import Field

from crossreid.options import Options


class MatchingOptions(Options):
    """Settings of `Identities`. Times are in seconds unless their name says otherwise."""

    match_at: float = Field(
        0.5, gt=0, le=1, description="Least probability to match a tracklet to an identity; else it becomes a new one."
    )
    merge_at: float = Field(0.95, gt=0, lt=1, description="Least probability to merge two identities.")
    leave_at: float = Field(
        0.1, ge=0, lt=1, description="A tracklet leaves its identity once that is less probable than this."
    )
    new_identity: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Prior probability that a tracklet shows none of the candidate identities.",
    )
    largest_ratio: float = Field(
        1e4,
        gt=1,
        description="Largest likelihood ratio of a single comparison, as a calibration's evidence is finite.",
    )
    absent_after: float = Field(
        10.0, gt=0, description="Seconds out of a camera's view after which an identity counts as having left."
    )
    forget_after: float = Field(
        24.0, gt=0, description="Hours without a sighting after which an identity is no longer matched."
    )
    tracks_per_identity: int = Field(
        4,
        ge=1,
        description="Latest tracklets of an identity to compare, per modality; of a gallery, its nearest entries.",
    )
    candidates: int = Field(32, ge=2, description="Number of most likely identities that compete for a tracklet.")
    gallery_entries: int = Field(50, ge=1, description="Number of nearest gallery entries to retrieve.")
