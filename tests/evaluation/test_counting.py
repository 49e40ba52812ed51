"""Counting as devices do it: nothing waits, and the plain and the fused pass both count what the definition says."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from crossreid.evaluation.counting import NOTHING, Block, count, fused_pass
from crossreid.evaluation.distances import order_blocks
from crossreid.evaluation.exclusion import SAME_IDENTITY_AND_CAMERA, same_camera_within, same_place
from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.ranking import Ranker, rank_embeddings
from no_waiting import NoWaiting

FIRST = "first image of each identity"


def by_definition(distances, columns, places, candidates, kept, codes, own, best):
    """Every count by a walk over the gallery: nearer entries, and equally near ones before."""
    ahead, others, refused = (
        np.zeros(places.shape, int),
        np.zeros(len(distances), int),
        np.full(len(distances), NOTHING),
    )
    for q, row in enumerate(distances[:, columns]):
        bad = [2 * g + np.isnan(d) for g, d in enumerate(row) if not abs(d) < np.finfo(row.dtype).max / 4]
        refused[q] = bad[0] if bad else NOTHING

        def before(place, q=q, row=row):
            return [g for g, d in enumerate(row) if kept[q, g] and (d, g) < (row[place], place)]

        for j, place in enumerate(places[q]):
            ahead[q, j] = len(before(place)) if candidates[q, j] else 0
        others[q] = len({codes[g] for g in before(best[q])} - {own[q]})
    return ahead, others, refused


def problem(seed, dtype, entries, most, levels):
    rng = np.random.default_rng(seed)
    distances = (rng.integers(0, levels, (4, entries + 9)) - levels // 3).astype(dtype)
    columns = rng.permutation(entries + 9)[:entries]
    places = np.sort(rng.permuted(np.tile(np.arange(entries), (4, 1)), axis=1)[:, :most], axis=1)
    candidates = rng.random((4, most)) < 0.8
    masks, mask_of = rng.random((3, entries)) < 0.7, rng.integers(0, 3, 4)
    codes, own, best = rng.integers(0, 11, entries), rng.integers(0, 11, 4), places[:, most // 2]
    return distances, columns, places, candidates, masks, mask_of, codes, own, best


def block_of(distances, columns, places, candidates, masks, mask_of, codes, own, best):
    matrix = torch.from_numpy(distances)
    found = matrix[:, columns]
    bounds = found.gather(1, torch.from_numpy(places)).masked_fill(~torch.from_numpy(candidates), -torch.inf)
    best = torch.from_numpy(best)[:, None]
    return Block(
        matrix, torch.from_numpy(columns), bounds, torch.from_numpy(places).int(), torch.from_numpy(masks.astype(np.uint8)),
        torch.from_numpy(mask_of), torch.from_numpy(codes), 11, torch.from_numpy(own), found.gather(1, best)[:, 0],
        best[:, 0].int(),
    )  # fmt: skip


def check(seed, dtype, entries, most, levels, fused):
    given = problem(seed, dtype, entries, most, levels)
    distances, columns, places, candidates, masks, mask_of, codes, own, best = given
    distances[1, columns[5:7]] = [np.nan, np.inf]
    distances[3, columns[-1]] = -np.inf
    block = block_of(*given)
    clean = np.isfinite(distances[:, columns]).all(axis=1)
    assert clean.tolist() == [True, False, True, False]
    ahead, others, refused = by_definition(distances, columns, places, candidates, masks[mask_of], codes, own, best)
    found = count(block, fused)
    np.testing.assert_array_equal(found.refused, refused)
    np.testing.assert_array_equal(found.ahead[clean], ahead[clean])
    np.testing.assert_array_equal(found.identities[clean], others[clean])

    everything, every = np.ones(distances.shape, bool), np.arange(distances.shape[1])
    matrix = torch.from_numpy(distances)
    bounds = matrix.gather(1, torch.from_numpy(places)).masked_fill(~torch.from_numpy(candidates), -torch.inf)
    plain = count(Block(matrix, None, bounds, block.places), fused)
    assert plain.identities is None
    codes = np.zeros(len(every), int)
    ahead, _, _ = by_definition(distances, every, places, candidates, everything, codes, own, best)
    np.testing.assert_array_equal(plain.ahead[clean], ahead[clean])


CASES = [
    (0, np.float32, 60, 1, 5), (1, np.float64, 300, 40, 50), (2, np.float32, 1500, 70, 10**6), (3, np.float32, 40, 3, 2),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_comparisons_count_what_the_definition_says(case):
    check(*case, fused=False)


def test_the_kernel_counts_what_the_definition_says():
    pytest.importorskip("triton")
    code = "import test_counting as t\nfor case in t.CASES: t.check(*case, fused=True)\nprint('counted')"
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent / "support")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": paths},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "counted" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton can build it here")
def test_where_triton_cannot_run_it_says_so_once_and_compares():
    pytest.importorskip("triton")
    block = block_of(*problem(0, np.float32, 60, 3, 5))
    fused_pass.cache_clear()
    with pytest.warns(UserWarning, match="Triton cannot build its kernel .* counted by PyTorch alone"):
        found = count(block, fused=True)
    torch.testing.assert_close(found.ahead, count(block, fused=False).ahead)
    fused_pass.cache_clear()


@pytest.mark.parametrize("kind", ["fp32", "fp64"])
def test_the_kernel_compiles_for_a_gpu_without_spilling(kind, tmp_path, monkeypatch):
    triton = pytest.importorskip("triton")
    if sys.platform != "linux":
        pytest.skip("the assembler comes with Triton for Linux")
    from crossreid.evaluation import fused_counting

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = fused_counting.count_ahead
    kinds = {"refused": "i32", "ahead": "i32", "seen": "i8", "masks": "u8", "places": "i32", "best_place": "i32"}
    kinds |= dict.fromkeys(("distances", "bounds", "best"), kind) | dict.fromkeys(
        ("columns", "mask_of", "codes", "own"), "i64"
    )
    numbers = dict.fromkeys(("stride", "entries", "most", "identities"), "i32")
    fixed = {"PICKED": True, "MASKED": True, "SEEN": True, "LIMIT": 1e37, "NONE": NOTHING}
    fixed |= {name: getattr(fused_counting, name) for name in ("TILE", "STEP", "WIDTH", "PART")}
    signature = {name: f"*{kind}" for name, kind in kinds.items()} | numbers | dict.fromkeys(fixed, "constexpr")
    source = triton.compiler.ASTSource(
        kernel, {name: signature[name] for name in kernel.arg_names},
        {(kernel.arg_names.index(name),): value for name, value in fixed.items()},
    )  # fmt: skip
    built = triton.compile(source, target=triton.backends.compiler.GPUTarget("cuda", 90, 32))
    assert ".local" not in built.asm["ptx"]
    assert built.asm["cubin"]


RULES = {
    "plain": {},
    "camera": {"exclusion": SAME_IDENTITY_AND_CAMERA},
    "film": {"exclusion": same_camera_within(3), "trapezoid": True},
    "place": {"exclusion": same_place((1, 2)), "counting": FIRST},
}


def ranker_of(rng, queries, entries, rules, junk=None):
    sides = (
        [rng.integers(0, 9, size) for size in (queries, entries)],
        [rng.integers(0, 4, s) for s in (queries, entries)],
    )
    frames = [rng.integers(0, 20, size) for size in (queries, entries)]
    return Ranker.of(queries, entries, torch.device("cpu"), *sides[0], *sides[1], *frames, junk=junk, **rules)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("junk", [False, True])
def test_no_block_waits_for_the_device(rules, junk):
    rng = np.random.default_rng(4)
    away = torch.from_numpy(rng.integers(0, 30, (20, 90)).astype(np.float32))
    columns = rng.permutation(90)[:70]
    ranker = ranker_of(rng, 20, 70, RULES[rules], rng.random((20, 70)) < 0.2 if junk else None)
    first = ranker._start_counting(slice(0, 6), away[:6], columns, False)  # carries the arrays to the device
    calls = []
    with NoWaiting() as operations:
        parts = [
            ranker._start_counting(at, away[at], columns, False) for at in (slice(6, 9), slice(9, 19), slice(19, 20))
        ]
        calls = sum(operations.calls.values())
    found = ranker.finish([first, *parts])
    expected = ranker.rank(slice(0, 20), away, columns=columns)
    for name in ("first", "average_precision", "inverse_penalty", "matches", "kept"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert calls / 3 < 110  # of views and launches, however many queries and trials there are


def test_the_nearest_entry_is_the_same_on_every_device():
    rng = np.random.default_rng(5)
    away = torch.from_numpy(rng.random((20, 90)).astype(np.float32))
    for junk in (None, np.arange(90) < 80):
        ranker = ranker_of(rng, 20, 90, RULES["camera"], junk)
        one = ranker.rank(slice(0, 20), away, nearest=True)
        other = ranker._rank_counted(slice(0, 20), away, nearest=True)
        np.testing.assert_array_equal(one.nearest, other.nearest)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_distance_that_is_not_finite_is_named_from_a_later_block(bad):
    rng = np.random.default_rng(6)
    away = torch.from_numpy(rng.random((20, 90)).astype(np.float32))
    columns = rng.permutation(90)[:70]
    away[13, columns[[41, 60]]] = bad
    ranker = ranker_of(rng, 20, 70, {})
    parts = [ranker._start_counting(slice(i, i + 5), away[i : i + 5], columns, False) for i in range(0, 20, 5)]
    kind = "NaN" if np.isnan(bad) else "not finite"
    for rank in (lambda: ranker.finish(parts), lambda: ranker.rank(slice(0, 20), away, columns=columns)):
        with pytest.raises(ValueError, match=f"query 13 to gallery entry 41 is {kind}"):
            rank()


def test_products_of_blocks_do_not_wait_either():
    rng = np.random.default_rng(7)
    left, right = (torch.from_numpy(rng.normal(size=(n, 24)).astype(np.float32)) for n in (40, 60))
    right[30:] = right[:30]
    blocks = order_blocks(left, right, rows=10)
    next(blocks)  # what is done once: the embeddings are looked at
    with NoWaiting() as operations:
        assert len(list(blocks)) == 3
        assert operations.calls["addmm"] + operations.calls["addmm_out"] == 3


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("side", ["query", "gallery"])
def test_a_bad_embedding_is_named_by_its_row(metric, side):
    rng = np.random.default_rng(8)
    sides = {"query": rng.normal(size=(9, 5)), "gallery": rng.normal(size=(12, 5))}
    sides[side][3, 2] = np.inf
    with pytest.raises(ValueError, match=f"{side} embeddings: an infinite value in row 3"):
        rank_embeddings(*sides.values(), np.zeros(9, int), np.zeros(12, int), metric=metric)


def people(rng, count=260):
    """Some junk, some of one camera alone, and some that the gallery lacks."""
    identities = rng.choice(["-1", "0", "3", "7", "12", "20", "30", "99"], count)
    cameras = np.where(identities == "30", 1, rng.integers(1, 7, count))
    roles = np.where(identities == "99", "query", rng.choice(["query", "gallery", "both"], count))
    return Features(
        rng.integers(-2, 3, (count, 6)).astype(float), identities, cameras, np.isin(cameras, (3, 6)).astype(int),
        positions_of(list(zip(identities.tolist(), cameras.tolist(), strict=True))), np.full(count, ""), roles,
        frames=rng.integers(0, 40, count),
    )  # fmt: skip


@pytest.mark.parametrize("protocol", ["sysu-mm01", "llcm", "market-1501", "atrw-plain", "open-set", "cross-camera"])
def test_every_protocol_scores_the_same_on_a_device(protocol, monkeypatch):
    """All settings and trials from one computation of distances, with many ties."""
    features = people(np.random.default_rng(9))
    expected = [score.to_json() for score in evaluate(features, protocol)]
    blocks = []

    def start(self, at, distances, *, columns=None, nearest=False):
        blocks.append(at)
        return self._start_counting(at, torch.from_numpy(distances.copy()), columns, nearest)

    monkeypatch.setattr(Ranker, "start", start)
    assert [score.to_json() for score in evaluate(features, protocol)] == expected
    assert blocks
