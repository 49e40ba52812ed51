"""Descriptions of the published evaluation protocols; `crossreid.evaluation.procedure` carries them out.

* SYSU-MM01 (Wu et al., ICCV 2017, and its MATLAB evaluation): all infrared images query (cameras 3, 6); the gallery is
  1 or 10 visible images per identity and camera, from cameras 1, 2, 4, 5 (all search) or 1, 2 (indoor); camera 3 skips
  camera 2, which is at the same place; CMC counts the first image of each identity, mAP and mINP all; 10 draws.
* RegDB: the images of each modality query those of the other, nothing excluded; one model and one set of features per
  trial.
* LLCM (Zhang and Wang, CVPR 2023, and its public code): all images of one modality query one image per identity and
  camera of the other, same identity and camera excluded, CMC counts the first image of each identity; 10 draws.
* MARS (Zheng et al., ECCV 2016): query tracklets against a gallery that also contains them, same identity and camera
  excluded, identity -1 is junk, 0 are distractors; AP by trapezoids, as in its evaluation. Features are of tracklets.
* Duke-Video-ReID (Wu et al., CVPR 2018): the same with its lists; the gallery does not contain the queries.
* VeRi-776 (Liu et al., ECCV 2016): same identity and camera excluded; AP by trapezoids, as in its evaluation. If videos
  query, each query image stands for the gallery tracklet of its vehicle and camera, as in the release of views
  knowledge distillation (Porrello et al., ECCV 2020); two images of one tracklet are two queries.
* Market-1501 (Zheng et al., ICCV 2015): same identity and camera excluded, identity -1 is junk, 0 are distractors; AP
  by trapezoids, as in its MATLAB evaluation. Much public code uses steps instead.
* MSMT17 (Wei et al., CVPR 2018): same identity and camera excluded; AP by steps, as in the public code that its figures
  come from; its lists have neither junk nor distractors.
* ATRW plain (Li et al., ACM MM 2020): each image queries all others; images of the identity from the same camera
  within 3 frames are left out; identities seen by one camera and by several are scored separately.
* open-set: as Market-1501 with AP by steps, and queries without a match should be rejected
  (`crossreid.evaluation.open_set`).
* cross-modal (your own images): given queries against a given gallery; images that are both query by modality
  (infrared against visible), or, if there is only one modality, each against all others.
* single-modality: the same rules, named for query and gallery of one modality.
* cross-camera: the same, but all entries from the query's camera are left out, whoever they show: if a camera means
  a sighting, everything else in it shares light and place with the query.
"""

from __future__ import annotations

from dataclasses import dataclass

from crossreid.data.records import INFRARED, VISIBLE, Modality
from crossreid.evaluation.exclusion import (
    NO_EXCLUSION,
    SAME_CAMERA,
    SAME_IDENTITY_AND_CAMERA,
    Counting,
    Exclusion,
    same_camera_within,
    same_place,
)


@dataclass(frozen=True)
class Setting:
    """Who queries whom. `None` means: modality, by the roles; cameras, any; shots, every image; `several_cameras`
    (whether queries are of identities seen by several cameras, or by one), either."""

    name: str
    query: Modality | None = None
    gallery: Modality | None = None
    query_cameras: tuple[int, ...] | None = None
    gallery_cameras: tuple[int, ...] | None = None
    shots: int | None = None
    several_cameras: bool | None = None


@dataclass(frozen=True)
class Protocol:
    """A published protocol.

    `draw` is its own draw of the gallery (None: every image); `permuted` says whether official permutations exist to
    use instead. `sets` are its comparisons of images and videos (`crossreid.evaluation.sets`); `first_frame` says
    whether the image of a tracklet is only its first frame, `pictures_query` whether a video query is the gallery
    tracklet of a listed image, one query per image. `without_cameras` says whether it also applies to images without
    cameras, for which its exclusion leaves out nothing.
    """

    name: str
    settings: tuple[Setting, ...]
    exclusion: Exclusion
    counting: Counting
    draw: str | None = None
    permuted: bool = False
    trapezoid: bool = False
    junk: tuple[str, ...] = ()
    open_set: bool = False
    sets: tuple[str, ...] = ("i2i",)
    first_frame: bool = False
    pictures_query: bool = False
    without_cameras: bool = False

    @property
    def camera_numbers(self) -> tuple[int, ...]:
        """Return the data set's own camera numbers, if the protocol uses them."""
        named = {c for s in self.settings for c in (*(s.query_cameras or ()), *(s.gallery_cameras or ()))}
        return tuple(sorted(named | {c for pair in self.exclusion.places for c in pair}))

    @property
    def needs(self) -> tuple[str, ...]:
        """Return what must be known about images besides their identity; without it, scores would be another
        protocol's.
        """
        by_camera = self.exclusion.needs_cameras or self.draw is not None
        by_camera = by_camera or any(s.several_cameras is not None for s in self.settings)
        cameras = by_camera and not self.without_cameras
        return (*["cameras"] * cameras, *["frames"] * (self.exclusion.frames is not None))


_TO_GALLERY = (Setting("query to gallery"),)
_JUNK = ("-1",)
_FILMED = ("i2v", "v2v")
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "sysu-mm01",
            tuple(
                Setting(f"{mode}, {name}", INFRARED, VISIBLE, (3, 6), cameras, shots)
                for mode, cameras in (("all", (1, 2, 4, 5)), ("indoor", (1, 2)))
                for name, shots in (("single-shot", 1), ("multi-shot", 10))
            ),
            same_place((3, 2)),
            "first image of each identity",
            "seeded",
            permuted=True,
        ),
        Protocol(
            "regdb",
            (
                Setting("visible to thermal", VISIBLE, INFRARED),
                Setting("thermal to visible", INFRARED, VISIBLE),
            ),
            NO_EXCLUSION,
            "every image",
        ),
        Protocol(
            "llcm",
            (
                Setting("infrared to visible", INFRARED, VISIBLE, shots=1),
                Setting("visible to infrared", VISIBLE, INFRARED, shots=1),
            ),
            SAME_IDENTITY_AND_CAMERA,
            "first image of each identity",
            "random-choice",
        ),
        *(
            Protocol(
                name,
                _TO_GALLERY,
                SAME_IDENTITY_AND_CAMERA,
                "every image",
                trapezoid=trapezoid,
                junk=_JUNK,
                sets=sets,
                first_frame=sets == _FILMED,
                pictures_query=name == "veri-776",
            )
            for name, trapezoid, sets in (
                ("mars", True, _FILMED),
                ("duke-video", True, _FILMED),
                ("veri-776", True, ("i2v", "v2v", "i2i", "v2i")),
                ("market-1501", True, ("i2i",)),
                ("msmt17", False, ("i2i",)),
            )
        ),
        Protocol(
            "atrw-plain",
            (
                Setting("single-camera", several_cameras=False),
                Setting("cross-camera", several_cameras=True),
            ),
            same_camera_within(3),
            "every image",
            junk=_JUNK,
        ),
        Protocol("open-set", _TO_GALLERY, SAME_IDENTITY_AND_CAMERA, "every image", junk=_JUNK, open_set=True),
        Protocol("cross-modal", _TO_GALLERY, SAME_IDENTITY_AND_CAMERA, "every image", without_cameras=True),
        Protocol("single-modality", _TO_GALLERY, SAME_IDENTITY_AND_CAMERA, "every image", without_cameras=True),
        Protocol("cross-camera", _TO_GALLERY, SAME_CAMERA, "every image"),
    )
}
"""Every protocol, by its name in scores and commands."""
