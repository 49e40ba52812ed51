"""How tracklets become identities: thresholds of probabilities, priors, times and limits."""

from __future__ import annotations

from pydantic import Field

from crossreid.options import Options


class MatchingOptions(Options):
    """Settings of `Identities`. Times are in seconds unless their name says otherwise."""

    match_at: float = Field(
        0.5, gt=0, le=1, description="A tracklet is an identity from this probability on; else a new one."
    )
    merge_at: float = Field(0.95, gt=0, lt=1, description="Two identities are joined from this probability on.")
    leave_at: float = Field(
        0.1, ge=0, lt=1, description="A tracklet leaves the identity it was given once that is less likely than this."
    )
    new_identity: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Prior probability that a tracklet shows none of the identities that could be there.",
    )
    largest_ratio: float = Field(
        1e4,
        gt=1,
        description="Largest likelihood ratio that one comparison counts for; what a calibration can say is finite.",
    )
    absent_after: float = Field(
        10.0, gt=0, description="Seconds out of a camera's view after which an identity has left it."
    )
    forget_after: float = Field(
        24.0, gt=0, description="Hours after which an identity that is not seen is matched no more."
    )
    tracks_per_identity: int = Field(
        4,
        ge=1,
        description="Tracklets of an identity that are compared, per modality: the latest ones; entries of a gallery: the nearest.",
    )
    candidates: int = Field(32, ge=2, description="Identities that compete for a tracklet: the likeliest ones.")
    gallery_entries: int = Field(50, ge=1, description="Nearest entries of the gallery that are asked for.")
