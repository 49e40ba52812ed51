"""A joint map of both modalities: t-SNE (van der Maaten and Hinton, JMLR 2008) of a few identities' embeddings.

A map can show whether the visible and infrared images of an identity are close; distances between clusters and their
sizes mean little. So each map shows the same images, and a line joins the two centres of an identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.manifold import TSNE

from crossreid.data.records import INFRARED, VISIBLE
from crossreid.errors import CrossreidError
from crossreid.evaluation.draws import identity_order
from crossreid.evaluation.features import Features
from crossreid.reporting.drawing import SERIES, colour, figure, panels, svg, title

IDENTITIES = len(SERIES)
_FEWEST = 8  # points needed to form neighbourhoods


@dataclass(frozen=True)
class Map:
    """N images in the plane: points `(N, 2)` in [0, 1], `identity` `(N,)` index into `names`, modalities `(N,)`."""

    points: np.ndarray
    identity: np.ndarray
    modalities: np.ndarray
    names: tuple[str, ...]


def rows_to_map(features: Features, *, identities: int = IDENTITIES, images: int = 12, seed: int = 0) -> np.ndarray:
    """Return rows of at most `identities` identities drawn with the seed, with `images` of each per modality.

    Only identities seen in both modalities are drawn, unless there is none. The draw uses identities and modalities,
    never embeddings, so features of one data set by several methods give the same rows.
    """
    generator = np.random.default_rng(seed)
    known = sorted(dict.fromkeys(features.identities.tolist()), key=identity_order)
    seen = {name: set(features.modalities[features.identities == name].tolist()) for name in known}
    candidates = [name for name in known if len(seen[name]) > 1] or known
    chosen = generator.permutation(len(candidates))[:identities]
    rows: list[int] = []
    for place in sorted(chosen.tolist()):
        for modality in sorted(seen[candidates[place]]):
            own = np.flatnonzero((features.identities == candidates[place]) & (features.modalities == modality))
            rows += sorted(generator.permutation(own)[:images].tolist())
    return np.array(rows, dtype=np.int64)


def map_embeddings(features: Features, *, metric: str = "euclidean", seed: int = 0) -> Map:
    """Compute the t-SNE of all given rows, initialised with their principal components; the same seed gives the same
    map.

    Raises `CrossreidError` for fewer than 8 rows, which are too few for neighbourhoods.
    """
    count = len(features)
    if count < _FEWEST:
        raise CrossreidError(
            f"expected at least {_FEWEST} images to map, found {count}; take more identities or images."
        )
    # If all images are equal, their principal components have no scale to start from.
    start = "pca" if min(features.embeddings.shape) > 1 and np.ptp(features.embeddings, axis=0).any() else "random"
    points = TSNE(
        perplexity=min(30.0, (count - 1) / 3),
        metric=metric,
        init=start,
        learning_rate="auto",
        method="exact",  # a few hundred points; the approximation's sums depend on the number of threads
        random_state=seed,
    ).fit_transform(features.embeddings)
    low, high = points.min(axis=0), points.max(axis=0)
    names = tuple(dict.fromkeys(features.identities.tolist()))
    index = np.array([names.index(name) for name in features.identities.tolist()], dtype=np.int64)
    return Map((points - low) / np.maximum(high - low, 1e-12), index, features.modalities, names)


def map_chart(mapped: Map, name: str, prefix: str, file: str = "") -> str:
    """Return the map as SVG: colour by identity, discs for visible and open triangles for infrared images."""
    drawn, axes = figure(3.4, 3.4)
    draw_map(axes, mapped)
    spoken = f"Map of {len(mapped.points)} images of {len(mapped.names)} identities as embedded by: {name}."
    if len(set(mapped.modalities.tolist())) > 1:
        spoken += f" On average the visible and infrared images of an identity are {gap(mapped):.2f} of the map's width apart."
    return svg(drawn, spoken, prefix, file)


def draw_map(axes: Axes, mapped: Map, *, size: float = 26) -> None:
    """Draw the map into `axes`; a line joins the visible and the infrared centre of an identity."""
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.04, 1.04)
    axes.set_ylim(-0.04, 1.04)
    for place in range(len(mapped.names)):
        shade = colour(SERIES[place % len(SERIES)])
        centres = []
        for modality, marker, face, edge, width in (
            (VISIBLE, "o", shade, colour("ground"), 0.4),
            (INFRARED, "^", "none", shade, 1.1),
        ):
            points = mapped.points[(mapped.identity == place) & (mapped.modalities == modality)]
            if len(points):
                axes.scatter(
                    points[:, 0],
                    points[:, 1],
                    s=size,
                    marker=marker,
                    facecolors=face,
                    edgecolors=edge,
                    linewidths=width,
                )
                centres.append(points.mean(axis=0))
        if len(centres) == 2:
            axes.plot(*np.stack(centres).T, color=shade, linewidth=1.3, alpha=0.7, zorder=0.5)


def draw_maps(maps: Sequence[Sequence[tuple[str, Map]]]) -> Figure:
    """Draw maps with their names, by row and column, and how far apart the two modalities of identities are in each."""
    drawn, grid = panels(len(maps), max(map(len, maps)), 2.6, 2.75)
    for axes_row, row in zip(grid, maps, strict=True):
        for axes, (name, mapped) in zip(axes_row, row, strict=False):
            draw_map(axes, mapped, size=15)
            title(axes, name)
            if len(set(mapped.modalities.tolist())) > 1:
                axes.set_xlabel(f"modalities {gap(mapped):.2f} apart", fontsize=7.5, color=colour("muted"))
        for axes in axes_row[len(row) :]:
            axes.set_visible(False)
    discs = Line2D([], [], color=colour("muted"), marker="o", linestyle="", markersize=4, label="visible")
    triangles = Line2D(
        [], [], color=colour("muted"), marker="^", markerfacecolor="none", linestyle="", markersize=4, label="infrared"
    )
    drawn.legend(handles=[discs, triangles], loc="outside lower right", ncols=2, fontsize=7.5, frameon=False)
    return drawn


def gap(mapped: Map) -> float:
    """Return the mean distance between visible and infrared centres of identities, in map widths; 0 if none has both."""
    gaps = []
    for place in range(len(mapped.names)):
        own = [mapped.points[(mapped.identity == place) & (mapped.modalities == m)] for m in (VISIBLE, INFRARED)]
        if all(map(len, own)):
            gaps.append(float(np.linalg.norm(own[0].mean(axis=0) - own[1].mean(axis=0))))
    return float(np.mean(gaps)) if gaps else 0.0
