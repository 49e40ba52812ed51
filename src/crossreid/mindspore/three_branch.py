"""The three-branch network and L_ReID in MindSpore; `crossreid.methods.three_branch` says what they are.

Sizes and initial values are read off a torch network of the same options, so that parameters have its names. Which rows go where
and which pairs count is decided on the host, from labels and modalities; cells run in MindSpore's PyNative mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import mindspore
import numpy as np
from mindspore import Tensor, ops
from mindspore import nn as cells

from crossreid.data.normalisation import Normalisation
from crossreid.data.records import Modality
from crossreid.data.transforms import LUMA, NORMALISED_LUMA
from crossreid.errors import CrossreidError
from crossreid.methods import three_branch as in_torch
from crossreid.mindspore.layers import Draw, Dropout, layer_of
from crossreid.mindspore.losses import (
    cross_entropy,
    cross_modal_pairs,
    modality_aware_ranking_loss,
    mutual_learning,
    normalised,
    ranking_loss,
    released_ranking_loss,
    sinkhorn_distance,
)
from crossreid.mindspore.resnet import network_of

Rows: TypeAlias = Tensor | np.ndarray  # `(B,)` of integers, on the host or off it


class Predictions(NamedTuple):
    """P_v and P_z of N images, as logits `(N, C)`."""

    v_logits: Tensor
    z_logits: Tensor


class Stream(NamedTuple):
    """What one pass over N images gives: v `(N, W)`, z `(N, Z)` and their logits `(N, C)`."""

    v: Tensor
    z: Tensor
    v_logits: Tensor
    z_logits: Tensor

    def rows(self, index: np.ndarray) -> Stream:
        return Stream(*(taken(part, index) for part in self))

    def predictions(self, index: np.ndarray | None = None) -> Predictions:
        logits = self.v_logits, self.z_logits
        return Predictions(*(part if index is None else taken(part, index) for part in logits))

    def joined(self, other: Stream) -> Stream:
        return Stream(*(ops.cat([one, two]) for one, two in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Views:
    """A batch as objectives see it: all that passed each branch, and paired predictions of `specific` and `shared`."""

    by_branch: dict[str, Stream]
    across: dict[str, tuple[Predictions, Predictions]]


class Backbone(cells.Cell):
    """Images `(B, 3, H, W)` to a feature map `(B, W, h, w)`."""

    def __init__(self, backbone: Any, name: str) -> None:
        super().__init__()
        self.network = network_of(backbone.network, name)

    def construct(self, images: Tensor) -> Tensor:
        return self.network(images)


class Encoder(cells.Cell):
    """Images `(B, 3, H, W)` to the observation v `(B, W)`: backbone, average pooling, BN neck."""

    def __init__(self, encoder: Any, name: str) -> None:
        super().__init__()
        self.backbone = Backbone(encoder.backbone, name)
        self.neck = layer_of(encoder.neck)

    def construct(self, images: Tensor) -> Tensor:
        return self.neck(self.backbone(images).mean(axis=(2, 3)))


class Branch(cells.Cell):
    """Encoder, bottleneck and the two classifiers P_v = p(y|v), P_z = p(y|z)."""

    def __init__(self, branch: in_torch.Branch, name: str) -> None:
        super().__init__()
        self.encoder = Encoder(branch.encoder, name)
        self.bottleneck = layer_of(branch.bottleneck)
        self.v_classifier = layer_of(branch.v_classifier)
        self.z_classifier = layer_of(branch.z_classifier)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, 3, H, W)` to v `(B, W)` and z `(B, Z)`."""
        v = self.encoder(images)
        return v, self.bottleneck(v)

    def construct(self, images: Tensor) -> tuple[Tensor, ...]:
        v, z = self.encode(images)
        return v, z, self.v_classifier(v), self.z_classifier(z)


class ThreeBranch(cells.Cell):
    """The network and L_ReID; a subclass adds its `objective`.

    `set_train(True)` makes batch norm use the batch and dropout drop, `set_train(False)` neither.
    """

    def __init__(self, method: in_torch.ThreeBranch, normalisation: Normalisation) -> None:
        super().__init__()
        self.options = method.options
        self.normalisation = normalisation
        name = method.options.backbone.name
        for key, branch in method.branches.items():
            self.insert_child_to_cell(key, Branch(branch, name))
            getattr(self, key).update_parameters_name(f"{key}.")

    def objective(self, views: Views) -> dict[str, Tensor]:
        """The method's own terms, weighted."""
        raise NotImplementedError

    def draw_with(self, draw: Draw) -> None:
        """Let dropout take its numbers from `draw(shape)`, uniform in [0, 1), in the order in which the streams pass.

        A numpy generator's `random` will do; one that is seeded by the step makes a run that resumes the same run.
        """
        for _, cell in self.cells_and_names():
            if isinstance(cell, Dropout):
                cell.draw = draw

    def losses(self, images: Tensor, labels: Rows, modalities: Rows) -> dict[str, Tensor]:
        """Terms `identity`, `ranking`, with modality-specific branches `mutual`, and those of `objective`, weighted.

        Args:
            images: `(B, 3, H, W)` float32.
            labels, modalities: `(B,)` integers; visible 0, infrared 1.

        Raises:
            CrossreidError: routed by modality, and no identity is there in both modalities, or one image of a modality.
        """
        options = self.options
        people, kinds = on_host(labels), on_host(modalities)
        streams = {name: Stream(*parts) for name, parts in self._pass(images, kinds, Branch.__call__).items()}
        views = self._views(streams, people, kinds)
        terms = {
            "identity": options.identity_weight * self._identity(streams, people),
            "ranking": options.ranking_weight * self._ranking(streams, people, kinds),
        }
        if "specific" in views.across:
            terms["mutual"] = options.mutual_weight * self._mutual(*views.across["specific"])
        return terms | self.objective(views)

    def streams(self, images: Tensor, modalities: Rows) -> dict[str, Stream]:
        """v, z and both logits of each stream by name, rows in the order of `images`."""
        passes = self._pass(images, on_host(modalities), Branch.__call__)
        return {name: Stream(*parts) for name, parts in passes.items()}

    def observe(self, images: Tensor, modalities: Rows) -> dict[str, tuple[Tensor, Tensor]]:
        """v `(B, W)` and z `(B, Z)` of each stream by name, not normalised."""
        passes = self._pass(images, on_host(modalities), Branch.encode)
        return {name: (parts[0], parts[1]) for name, parts in passes.items()}

    def embed(self, images: Tensor, modalities: Rows) -> Tensor:
        """L2-normalised embeddings `(B, D)` of images `(B, 3, H, W)`, of v, z or both as the options say."""
        streams = self.observe(images, modalities)
        released = self.options.test_order == "input" and self.options.routing == "all"
        order: Iterable[str] = in_torch.BY_INPUT if released else streams
        v, z = zip(*(streams[name] for name in order if name in streams), strict=True)
        if self.options.test_features == "observation":
            return normalised(ops.cat(v, 1))
        if self.options.test_features == "representation":
            return normalised(ops.cat(z, 1))
        return normalised(ops.cat([normalised(ops.cat(v, 1)), normalised(ops.cat(z, 1))], 1))

    def _pass(self, images: Tensor, kinds: np.ndarray, through: Any) -> dict[str, tuple[Tensor, ...]]:
        specific, shared = self.options.branches != "shared", self.options.branches != "specific"
        passes: dict[str, tuple[Tensor, ...]] = {}
        if self.options.routing == "all":
            grey = luma(images) if self.options.grey != "image" else grey_version(images, self.normalisation)
            if specific:
                passes |= {"infrared": through(self.infrared, grey), "visible": through(self.visible, images)}
            if shared:
                passes |= {"shared_grey": through(self.shared, grey), "shared": through(self.shared, images)}
            return passes
        if specific:
            passes["specific"] = self._pass_by_modality(images, kinds, through)
        if shared:
            passes["shared"] = through(self.shared, images)
        return passes

    def _pass_by_modality(self, images: Tensor, kinds: np.ndarray, through: Any) -> tuple[Tensor, ...]:
        branches = {Modality.VISIBLE: self.visible, Modality.INFRARED: self.infrared}
        places = {kind: np.flatnonzero(kinds == kind) for kind in branches}
        if self.training and any(len(index) == 1 for index in places.values()):
            raise CrossreidError(
                "one image of a modality in a batch: batch norm needs two to train its branch. Raise "
                "data.sampler.identities or data.sampler.images."
            )
        passed = [
            (index, through(branches[kind], taken(images, index))) for kind, index in places.items() if len(index)
        ]
        back = np.argsort(np.concatenate([index for index, _ in passed]))
        return tuple(taken(ops.cat(outputs), back) for outputs in zip(*(parts for _, parts in passed), strict=True))

    def _views(self, streams: Mapping[str, Stream], labels: np.ndarray, kinds: np.ndarray) -> Views:
        by_branch: dict[str, Stream] = {}
        across: dict[str, tuple[Predictions, Predictions]] = {}
        if self.options.routing == "all":
            if "infrared" in streams:
                by_branch |= {name: streams[name] for name in ("infrared", "visible")}
                across["specific"] = streams["infrared"].predictions(), streams["visible"].predictions()
            if "shared" in streams:
                by_branch["shared"] = streams["shared_grey"].joined(streams["shared"])
                across["shared"] = streams["shared_grey"].predictions(), streams["shared"].predictions()
            return Views(by_branch, across)
        one, two = cross_modal_pairs(labels, kinds)
        if "specific" in streams:
            for name, kind in (("infrared", Modality.INFRARED), ("visible", Modality.VISIBLE)):
                by_branch[name] = streams["specific"].rows(np.flatnonzero(kinds == kind))
        if "shared" in streams:
            by_branch["shared"] = streams["shared"]
        across = {name: (stream.predictions(one), stream.predictions(two)) for name, stream in streams.items()}
        return Views(by_branch, across)

    def _weight(self, name: str) -> float:
        """A stream's share of L_cls and L_metric, of each of v and z: every branch weighs the same."""
        if name.startswith("shared"):
            return 0.5 if self.options.routing == "modality" else 0.25
        return 1.0 if name == "specific" else 0.5

    def _identity(self, streams: Mapping[str, Stream], labels: np.ndarray) -> Tensor:
        smoothing, wanted = self.options.label_smoothing, Tensor(labels, mindspore.int64)
        return sum_of(
            self._weight(name) * cross_entropy(logits, wanted, smoothing=smoothing)
            for name, stream in streams.items()
            for logits in (stream.v_logits, stream.z_logits)
        )

    def _ranking(self, streams: Mapping[str, Stream], labels: np.ndarray, kinds: np.ndarray) -> Tensor:
        same, across = self.options.ranking_same, self.options.ranking_across
        ranked = ranking_loss if self.options.ranking == "ranked_list" else released_ranking_loss
        return sum_of(
            self._weight(name)
            * modality_aware_ranking_loss(features, labels, kinds, same=same, across=across, ranked=ranked)
            for name, stream in streams.items()
            for features in (stream.v, stream.z)
        )

    def _mutual(self, one: Predictions, two: Predictions) -> Tensor:
        if self.options.mutual_of == "observation":
            return self._apart(one.v_logits, two.v_logits)
        return 0.5 * sum_of(self._apart(a, b) for a, b in zip(one, two, strict=True))

    def _apart(self, a: Tensor, b: Tensor) -> Tensor:
        if self.options.mutual == "sinkhorn":
            return sinkhorn_distance(ops.softmax(a, 1), ops.softmax(b, 1))
        return mutual_learning(a, b, temperature=self.options.temperature)


def luma(images: Tensor) -> Tensor:
    """`(B, 3, H, W)` to the luma of these very values in all three channels."""
    weights = Tensor(np.array(NORMALISED_LUMA, np.float32).reshape(1, 3, 1, 1))
    return _thrice((images * weights).sum(axis=1, keepdims=True))


def grey_version(images: Tensor, normalisation: Normalisation) -> Tensor:
    """Normalised `(B, 3, H, W)` to the luma of the image in all three channels, normalised the same way."""
    shape = (1, 3, 1, 1)
    mean, std = (
        Tensor(np.array(values, np.float32).reshape(shape)) for values in (normalisation.mean, normalisation.std)
    )
    weights = Tensor(np.array(LUMA, np.float32).reshape(shape))
    return (_thrice(((images * std + mean) * weights).sum(axis=1, keepdims=True)) - mean) / std


def taken(part: Tensor, index: np.ndarray) -> Tensor:
    """The rows of `(N, ...)` at those positions."""
    return ops.gather(part, Tensor(index.astype(np.int32)), 0)


def on_host(rows: Rows) -> np.ndarray:
    """Integers `(B,)` as numpy's."""
    return rows if isinstance(rows, np.ndarray) else np.asarray(rows.asnumpy())


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    """The sum of scalar tensors, at least one."""
    first, *rest = terms
    for term in rest:
        first = first + term
    return first


def _thrice(channel: Tensor) -> Tensor:
    return ops.cat([channel, channel, channel], 1)
