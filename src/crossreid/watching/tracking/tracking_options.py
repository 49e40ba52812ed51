"""Options of tracking within a camera, and of the images that represent a track."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crossreid.options import Options

TrackerName = Literal["bytetrack", "ocsort", "botsort"]


class TrackingOptions(Options):
    """Times are in seconds of film time; probabilities apply if the model is calibrated, cosines if not."""

    tracker: TrackerName = Field("bytetrack", description="Tracker of the library `trackers` that associates boxes.")
    new_track_score: float = Field(0.5, ge=0, le=1, description="Least score of a box that may start a track.")
    lost_after: float = Field(1.0, gt=0, description="How long the tracker keeps a track that is not seen.")
    shortest: float = Field(0.2, ge=0, description="Shorter tracks are dropped.")
    longest: float = Field(300.0, gt=0, description="A longer track continues under a new number, to bound memory.")
    rejoin_within: float = Field(
        3.0, ge=0, description="How long after a track is lost another may continue it, by appearance; 0 for never."
    )
    rejoin_at: float = Field(
        0.5, ge=0, le=1, description="Least probability of one identity for a track to continue a lost one."
    )
    rejoin_cosine: float = Field(0.7, ge=-1, le=1, description="The same without calibration: least cosine.")
    cut_at: float = Field(
        0.1, ge=0, le=1, description="A track is cut if its parts show one identity with a lower probability."
    )
    cut_cosine: float = Field(0.4, ge=-1, le=1, description="The same without calibration: cosine.")
    swap_margin: float = Field(
        0.1, ge=0, description="Two tracks that met are swapped if their cosines favour that by more than this."
    )
    key_frames: int = Field(8, ge=2, description="Most images that represent a track.")
    first_after: float = Field(0.5, ge=0, description="How long a track must last to be first reported.")
    again_after: float = Field(2.0, gt=0, description="Seconds between further reports while it lasts.")
