"""Published figures to compare with, as fractions, with the source of each.

Figures are as stated in the papers; none is re-ranked, as far as the papers say. Protocol and setting are named as in
`crossreid.evaluation.protocols`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VD = "Variational distillation"
VD_PAPER = 'Tian et al., "Farewell to Mutual Information", CVPR 2021'


@dataclass(frozen=True)
class Published:
    """One row of a published table: `values` maps 'rank-1', ..., 'mAP' to fractions."""

    protocol: str
    setting: str
    method: str
    source: str
    values: Mapping[str, float]


def _percent(**values: float) -> dict[str, float]:
    names = {"r1": "rank-1", "r10": "rank-10", "r20": "rank-20", "mAP": "mAP"}
    return {names[key]: round(value / 100, 6) for key, value in values.items()}


# SYSU-MM01 all search, single-shot: the comparison table of the same paper, rank-1 and mAP in percent.
_EARLIER = (
    ("Zero-Pad", 14.80, 15.95),
    ("TONE", 12.52, 14.42),
    ("HCML", 14.32, 16.16),
    ("BDTR", 17.01, 19.66),
    ("cmGAN", 26.97, 31.49),
    ("D-HSME", 20.68, 23.12),
    ("D2RL", 28.9, 29.2),
    ("MAC", 33.26, 36.22),
    ("AlignGAN", 42.4, 40.7),
    ("X-modal", 49.92, 50.73),
    ("JSIA-ReID", 38.1, 36.9),
    ("cm-SSFT", 52.4, 52.1),
    ("Hi-CMD", 34.94, 35.94),
    ("DDAG", 54.75, 53.02),
)

VKD_PAPER = 'Porrello et al., "Robust Re-Identification by Multiple Views Knowledge Distillation", ECCV 2020'
# MARS, rank-1 and mAP in percent: image to video or video to video, as labelled.
_VIEWS = (
    ("ResVKD-50", "image to video", 83.89, 77.27),
    ("ResVKD-101", "image to video", 85.91, 77.64),
    ("ResVKD-50bam", "image to video", 84.34, 78.13),
    ("ResVKD-50bam", "video to video", 89.39, 83.07),
    ("DenseVKD-121", "image to video", 84.04, 77.09),
    ("MobileVKD-V2", "image to video", 83.33, 73.95),
)
_VIEWS_EARLIER = (
    ("DenseNet-121", "image to video", 82.68, 74.34),
    ("MobileNet-V2", "image to video", 78.64, 67.94),
)
OFFERED = {VD, *(name for name, *_ in _VIEWS)}

PUBLISHED: tuple[Published, ...] = (
    Published("sysu-mm01", "all, single-shot", VD, VD_PAPER, _percent(r1=60.02, r10=94.18, r20=98.14, mAP=58.80)),
    Published("sysu-mm01", "indoor, single-shot", VD, VD_PAPER, _percent(r1=66.05, r10=96.59, r20=99.38, mAP=72.98)),
    Published("regdb", "visible to thermal", VD, VD_PAPER, _percent(r1=73.2, mAP=71.6)),
    Published("regdb", "thermal to visible", VD, VD_PAPER, _percent(r1=71.8, mAP=70.1)),
    *(
        Published("sysu-mm01", "all, single-shot", name, f"listed in {VD_PAPER}", _percent(r1=rank1, mAP=mean))
        for name, rank1, mean in _EARLIER
    ),
    *(
        Published("mars", setting, name, source, _percent(r1=rank1, mAP=mean))
        for source, rows in ((VKD_PAPER, _VIEWS), (f"teachers in {VKD_PAPER}", _VIEWS_EARLIER))
        for name, setting, rank1, mean in rows
    ),
)

# The ablation of the same paper on SYSU-MM01 all search, single-shot: (branches, objective) to its row.
VD_ABLATION: dict[tuple[str, str], Mapping[str, float]] = {
    ("specific", "information_bottleneck"): _percent(r1=28.69, mAP=32.42),
    ("specific", "variational_distillation"): _percent(r1=59.62, mAP=57.99),
    ("shared", "information_bottleneck"): _percent(r1=24.34, mAP=28.01),
    ("shared", "variational_distillation"): _percent(r1=49.22, mAP=48.74),
    ("all", "information_bottleneck"): _percent(r1=30.43, mAP=33.67),
    ("all", "variational_distillation"): _percent(r1=60.02, mAP=58.80),
}


def published_for(protocol: str, setting: str, *, earlier: bool = False) -> list[Published]:
    """Return figures of one setting: of the methods offered here, with `earlier` also of the systems they were compared
    with.
    """
    rows = [row for row in PUBLISHED if (row.protocol, row.setting) == (protocol, setting)]
    return [row for row in rows if earlier or row.method in OFFERED]
