"""Re-ranking: distances corrected by the neighbours of images, without labels.

* k-reciprocal encoding (Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017,
  equations 2 to 12). With N(i, k) the k + 1 nearest of query and gallery together, including the image itself, and
  R(i, k) = {j in N(i, k): i in N(j, k)}, the set R(i, k1) is extended by R(c, k1 / 2) of each member c that has more
  than two thirds of R(c, k1 / 2) in R(i, k1). V_i holds exp(-d_ij) of that set, normalised to sum 1, and is averaged
  over the k2 nearest of i. The new distance is (1 - weight) * (1 - sum min(V_i, V_j) / sum max(V_i, V_j)) + weight *
  d_ij. As in the authors' release, d is the squared Euclidean distance (cosine: of unit vectors) divided by the largest
  in its row, k1 / 2 is rounded half to even, and ties are broken by index, queries before gallery. With
  `gallery: hidden` only queries are neighbours, as in the release of IDKL for SYSU-MM01: a gallery image then has no
  reciprocal neighbours, and its encoding is the mean of its k2 nearest queries'.
* alpha query expansion (Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019): a
  query becomes the sum of itself and its n nearest gallery embeddings, each times its cosine similarity to the power
  alpha, negative ones as 0; distances are cosine.
* normalisation by group: each distance minus the mean, divided by the spread, of all distances between its query's
  group (camera or modality) and its gallery entry's.

All of them use the whole test set, which a deployed system may not have. Sparse where the definition is dense: only
neighbours are stored, distances are computed one block of rows at a time, and nothing of size (Q + G) x (Q + G) exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from crossreid.evaluation.distances import as_embeddings, distance_blocks, prepared
from crossreid.evaluation.neighbours import Rows, nearest_neighbours
from crossreid.evaluation.reranking_options import KReciprocal, QueryExpansion, Reranking

Blocks = Iterator[tuple[slice, Tensor]]


def reranked_blocks(
    query: np.ndarray | Tensor,
    gallery: np.ndarray | Tensor,
    options: Reranking,
    metric: str = "euclidean",
    *,
    rows: int | None = None,
) -> Blocks:
    """Yield `(rows of the query, new distances (rows, G))` of query `(Q, D)` and gallery `(G, D)`, on their device.

    Raises:
        CrossreidError: what `distance_blocks` refuses.
    """
    if isinstance(options, QueryExpansion):
        yield from distance_blocks(expand_queries(query, gallery, options), gallery, "cosine", rows=rows)
        return
    left, right = as_embeddings(query, "query embeddings"), as_embeddings(gallery, "gallery embeddings")
    yield from _k_reciprocal(Rows(left, right, metric), len(left), options, rows)


def expand_queries(query: np.ndarray | Tensor, gallery: np.ndarray | Tensor, options: QueryExpansion) -> Tensor:
    """Return query embeddings `(Q, D)`, unit length, combined with their nearest in the gallery."""
    left, right = prepared(query, gallery, "cosine")
    expanded = []
    for at, distances in distance_blocks(left, right, "cosine"):
        near, places = _nearest(distances, min(options.neighbours, len(right)))
        shares = (1 - near).clamp(min=0) ** options.alpha
        expanded.append(left[at] + torch.einsum("rk,rkd->rd", shares, right[places]))
    return torch.nn.functional.normalize(torch.cat(expanded), dim=1)


def normalised_blocks(blocks: Callable[[], Blocks], query_groups: np.ndarray, gallery_groups: np.ndarray) -> Blocks:
    """Yield the blocks of `blocks()`, with each distance standardised within its pair of groups.

    `blocks` is called twice, first for the means and spreads. Groups `(Q,)` and `(G,)` are any values. A pair of groups
    whose distances are all equal is only centred.
    """
    names, ours = np.unique(query_groups, return_inverse=True)
    others, theirs = np.unique(gallery_groups, return_inverse=True)
    counts = np.bincount(ours.reshape(-1), minlength=len(names))[:, None] * np.bincount(theirs.reshape(-1))[None]
    total = np.zeros((2, len(names), len(others)))
    shift = None
    for at, block in blocks():
        member = torch.nn.functional.one_hot(torch.from_numpy(theirs.reshape(-1)), len(others)).to(block)
        shift = block.double().mean() if shift is None else shift  # a sum of squares far from 0 loses precision
        centred = block - shift.to(block)
        for power in (1, 2):
            sums = (centred**power @ member).double().cpu().numpy()
            np.add.at(total[power - 1], ours.reshape(-1)[at], sums)
    assert shift is not None
    mean = total[0] / counts
    spread = np.sqrt(np.maximum(total[1] / counts - mean**2, 0))
    spread[spread <= 1e-7 * np.abs(mean + float(shift))] = 1.0
    for at, block in blocks():
        rows, columns = ours.reshape(-1)[at], theirs.reshape(-1)
        means = torch.from_numpy(mean + float(shift)).to(block)[rows][:, columns]
        spreads = torch.from_numpy(spread).to(block)[rows][:, columns]
        yield at, (block - means) / spreads


def _k_reciprocal(everyone: Rows, queries: int, options: KReciprocal, rows: int | None) -> Blocks:
    count, entries = len(everyone), len(everyone) - queries
    k1 = min(options.k1, count - 1)
    k2 = min(options.k2, count)
    half = min(round(options.k1 / 2), count - 1)  # Python rounds half to even too
    shown = queries if options.gallery == "hidden" else count
    neighbours, largest = nearest_neighbours(everyone, max(k1 + 1, half + 1, k2), shown)
    members, owners = _expanded_sets(neighbours[:, : k1 + 1], neighbours[:, : half + 1])
    weights = torch.exp(-everyone.exact(owners, members) / largest[owners])
    weights /= weights.new_zeros(count).index_add(0, owners, weights)[owners]
    if k2 > 1:
        owners, members, weights = _averaged(owners, members, weights, neighbours[:, :k2])
    weights, largest = weights.to(everyone.given.dtype), largest.to(everyone.given.dtype)
    # 1, or less if a neighbour has no reciprocal neighbours, not even itself because of its duplicates.
    amount = weights.new_zeros(count).index_add(0, owners, weights)
    starts = _starts(owners, count)
    # The gallery's part, by column: which entries are non-zero there, and their values.
    of_gallery = owners >= queries
    order = torch.argsort(members[of_gallery], stable=True)
    columns, named = members[of_gallery][order], owners[of_gallery][order] - queries
    amounts = weights[of_gallery][order]
    column_starts = _starts(columns, count)
    step = rows or max(64, (1 << 24) // entries)
    for first in range(0, queries, step):
        last = min(first + step, queries)
        own = slice(int(starts[first]), int(starts[last]))
        shared = amount.new_zeros(last - first, entries)
        _add_shared(shared, owners[own] - first, members[own], weights[own], column_starts, named, amounts)
        # sum max = sum + sum - sum min; if there is nothing to share, the sum is 0.
        union = amount[first:last, None] + amount[None, queries:] - shared
        jaccard = 1 - shared / union.clamp(min=torch.finfo(union.dtype).tiny)
        original = everyone.approximate(slice(first, last), slice(queries, None)) / largest[first:last, None]
        yield slice(first, last), (1 - options.weight) * jaccard + options.weight * original


def _nearest(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k smallest of each row and their indices, ties by index."""
    near, places = distances.topk(k, dim=1, largest=False)
    crossing = ((distances <= near[:, -1:]).sum(dim=1) > k).nonzero()[:, 0]
    if len(crossing):  # more entries share the last value than fit
        near[crossing], places[crossing] = (part[:, :k] for part in distances[crossing].sort(dim=1, stable=True))
    places, order = places.sort(dim=1)
    near, order = near.gather(1, order).sort(dim=1, stable=True)
    return near, places.gather(1, order)


def _reciprocal(neighbours: Tensor) -> Tensor:
    """Return `(N, k)` bool: whether each neighbour has the row's image among its own."""
    own = torch.arange(len(neighbours), device=neighbours.device)
    mutual = torch.empty_like(neighbours, dtype=torch.bool)
    step = max(1, (1 << 22) // neighbours.shape[1] ** 2)
    for start in range(0, len(neighbours), step):
        rows = slice(start, start + step)
        mutual[rows] = (neighbours[neighbours[rows]] == own[rows, None, None]).any(dim=2)
    return mutual


def _expanded_sets(full: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Return members and owners of the expanded reciprocal sets, `(nnz,)` each, by owner and then by member."""
    count = len(full)
    nobody = full.new_tensor(count)
    reciprocal = torch.where(_reciprocal(full), full, nobody)
    smaller = torch.where(_reciprocal(half), half, nobody)
    sizes = (smaller != nobody).sum(dim=1)
    members, owners = [], []
    step = max(1, (1 << 23) // (full.shape[1] ** 2 * half.shape[1]))
    for start in range(0, count, step):
        rows = reciprocal[start : start + step]
        candidates = rows.clamp(max=count - 1)
        sets = torch.where((rows != nobody)[:, :, None], smaller[candidates], nobody)
        inside = (sets[:, :, :, None] == rows[:, None, None, :]).any(dim=3) & (sets != nobody)
        joins = 3 * inside.sum(dim=2) > 2 * sizes[candidates]
        joined = torch.where(joins[:, :, None], sets, nobody).flatten(1)
        together = torch.cat([rows, joined], dim=1).sort(dim=1).values
        new = together != nobody
        new[:, 1:] &= together[:, 1:] != together[:, :-1]
        row, column = new.nonzero(as_tuple=True)
        owners.append(row + start)
        members.append(together[row, column])
    return torch.cat(members), torch.cat(owners)


def _averaged(owners: Tensor, members: Tensor, weights: Tensor, near: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the average of the rows in `near` `(N, k2)` as (owners, members, weights), by owner and then by member."""
    count, k2 = near.shape
    starts = _starts(owners, count)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    step = max(1, (1 << 22) // (k2 * max(1, len(owners) // count)))
    for start in range(0, count, step):
        rows = near[start : start + step].flatten()
        row, place = _spread(starts, rows)
        key = (start + row // k2) * count + members[place]
        key, where = key.unique(return_inverse=True)
        total = weights.new_zeros(len(key)).index_add(0, where, weights[place] / k2)
        parts.append((key // count, key % count, total))
    merged = [torch.cat(part) for part in zip(*parts, strict=True)]
    return merged[0], merged[1], merged[2]


def _add_shared(
    shared: Tensor,
    rows: Tensor,
    members: Tensor,
    weights: Tensor,
    starts: Tensor,
    entries: Tensor,
    amounts: Tensor,
) -> None:
    """Add min(V_row, V_entry) to `shared` `(R, G)` for every column that is non-zero in both."""
    step = 1 << 15
    flat = shared.view(-1)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        source, place = _spread(starts, members[part])
        least = torch.minimum(weights[part][source], amounts[place])
        flat.index_add_(0, rows[part][source] * shared.shape[1] + entries[place], least)


def _starts(sorted_values: Tensor, count: int) -> Tensor:
    """Return `(count + 1,)`: where each value 0 .. count - 1 starts in a sorted list."""
    sizes = torch.bincount(sorted_values, minlength=count)
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _spread(starts: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return, for each of `values`, all indices from its start to the next: (which of the values, index), flat."""
    sizes = starts[values + 1] - starts[values]
    source = torch.repeat_interleave(torch.arange(len(values), device=values.device), sizes)
    offset = torch.arange(len(source), device=values.device) - (sizes.cumsum(0) - sizes)[source]
    return source, starts[values][source] + offset
