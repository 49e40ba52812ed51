"""What can be set of tracking within a camera, and of what stands for a track."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossreid.options import Options

TrackerName = Literal["bytetrack", "ocsort", "botsort"]


class TrackingOptions(Options):
    """Times are seconds of the film; probabilities count where the model is calibrated, cosines where it is not."""

    tracker: TrackerName = Field("bytetrack", description="Which tracker of the library `trackers` joins boxes.")
    new_track_score: float = Field(0.5, ge=0, le=1, description="Least score of a box that may begin a track.")
    lost_after: float = Field(1.0, gt=0, description="How long the tracker waits for a track that it does not see.")
    shortest: float = Field(0.2, ge=0, description="A track that lasted less is no track.")
    longest: float = Field(
        300.0, gt=0, description="A track that lasts longer goes on under a new number, so that memory stays flat."
    )
    rejoin_within: float = Field(
        3.0, ge=0, description="How long after a track was lost another may continue it, by appearance; 0 for never."
    )
    rejoin_at: float = Field(0.5, ge=0, le=1, description="Least probability that both show one identity.")
    rejoin_cosine: float = Field(0.7, ge=-1, le=1, description="The same without calibration: the least cosine.")
    cut_at: float = Field(
        0.1, ge=0, le=1, description="A track is cut where its parts show one identity with less probability."
    )
    cut_cosine: float = Field(0.4, ge=-1, le=1, description="The same without calibration: the cosine.")
    swap_margin: float = Field(
        0.1, ge=0, description="Two tracks that met are swapped where their cosines say so by more than this."
    )
    key_frames: int = Field(8, ge=2, description="At most so many images stand for a track.")
    first_after: float = Field(0.5, ge=0, description="A track is reported first when it has lasted so long.")
    again_after: float = Field(2.0, gt=0, description="And again each so many seconds, while it lasts.")
