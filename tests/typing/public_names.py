"""Checked by mypy, not run: public names have real types, through the lazy package too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, assert_type

from torch import Tensor

import crossreid


class Constant(crossreid.Method):
    """A method of somebody else's, as they would write it."""

    def losses(self, batch: crossreid.Batch) -> dict[str, Tensor]:
        assert_type(batch.images, Tensor)
        return {"triplet": crossreid.triplet_loss(batch.images.flatten(1), batch.labels, margin=0.3)}


def train_and_score(recipe: crossreid.Recipe, out: Path) -> None:
    assert_type(crossreid.train(recipe, out), crossreid.FitResult)
    assert_type(crossreid.evaluate(out), list[crossreid.Score])
    assert_type(crossreid.open_run(out), crossreid.Run)
    assert_type(crossreid.open_run(out).split, crossreid.Split)
    assert_type(crossreid.report([out]), Path)


def search(run: Path, folder: Path) -> None:
    assert_type(crossreid.open_model(run), crossreid.EmbeddingModel)
    assert_type(crossreid.open_gallery(folder), crossreid.Gallery)
    assert_type(crossreid.embed(run), Path)
    scores, seconds = crossreid.rank(folder / "q.npz", folder / "g.npz", "regdb")
    assert_type(scores, list[crossreid.Score])
    assert_type(seconds, dict[str, float])
    fused = crossreid.fuse([folder / "a", folder / "b"], "regdb", [folder / "c", folder / "d"])
    assert_type(fused.fusions["calibrated"], crossreid.CalibratedFusion)
    with crossreid.open_gallery(folder) as gallery:
        assert_type(crossreid.cluster(gallery, folder / "out", threshold=0.8), crossreid.Clustered)
    assert_type(crossreid.cluster(folder, threshold={"visible-visible": 0.8}).named, tuple[int, int] | None)


def doors() -> None:
    decorator: Callable[..., Any] = crossreid.register_dataset("mine", title="Mine", protocol="cross-modal")
    assert_type(crossreid.METHODS["baseline"].title, str)
    assert_type(crossreid.PROTOCOLS["regdb"], crossreid.Protocol)
    del decorator
