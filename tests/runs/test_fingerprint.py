"""A fingerprint is of what the embeddings are, and of nothing else."""

import re

import pytest
import torch

from crossreid.inference.open_model import open_model
from crossreid.runs import stored_run
from crossreid.runs.fingerprint import fingerprint_of
from crossreid.runs.stored_run import run_fingerprint
from small_model import recipe_of, write_run


def fingerprint(folder, **given):
    return open_model(folder, device="cpu", **given).fingerprint


def test_the_fingerprint_is_of_what_the_embeddings_are(tmp_path):
    """Everything that moves an embedding changes it; where things lie, and what only training saw, do not."""
    write_run(tmp_path / "run", recipe_of())
    first = fingerprint(tmp_path / "run")
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert fingerprint(tmp_path / "run", fuse=False, precision="bf16") == first
    recipe = (tmp_path / "run" / "recipe.yaml").read_text()
    same = [("root: /nowhere/at/all", "root: elsewhere"), ("workers: 0", "workers: 3"), ("weights: none", "weights: a.pth"),
            ("metric: cosine", "metric: euclidean")]  # fmt: skip
    other = [("height: 48", "height: 64"), ("interpolation: bilinear", "interpolation: bicubic"), ("flip: false", "flip: true"),
             ("last_stride_one: true", "last_stride_one: false")]  # fmt: skip
    for changes, expected in ((same, True), (other, False)):
        for before, after in changes:
            assert recipe.count(before) == 1, before
            (tmp_path / "run" / "recipe.yaml").write_text(recipe.replace(before, after))
            assert (fingerprint(tmp_path / "run") == first) == expected, after


def test_a_runs_fingerprint_needs_no_network(tmp_path, monkeypatch):
    for name, ema in (("plain", False), ("averaged", True)):
        write_run(tmp_path / "stages" / "teacher", recipe_of())
        write_run(tmp_path / name, recipe_of(flip=ema), ema=ema)
        expected = fingerprint(tmp_path / name)
        with monkeypatch.context() as patched:
            patched.setattr(stored_run, "method_of_weights", None)
            assert run_fingerprint(tmp_path / name) == run_fingerprint(tmp_path / name, "last") == expected
    with pytest.raises(ValueError, match="holds no run"):
        run_fingerprint(tmp_path / "nowhere")


def test_the_fingerprint_of_weights_does_not_depend_on_their_order_and_sees_one_bit():
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.zeros(2, dtype=torch.bfloat16)}
    first = fingerprint_of(weights, {"x": 1})
    assert fingerprint_of(dict(reversed(weights.items())), {"x": 1}) == first
    changed = {**weights, "a": weights["a"].clone()}
    changed["a"].view(torch.int32)[1, 2] ^= 1
    others = [
        fingerprint_of(changed, {"x": 1}), fingerprint_of(weights, {"x": 2}),
        fingerprint_of({**weights, "a": weights["a"].reshape(3, 2)}, {"x": 1}),
        fingerprint_of({**weights, "b": torch.tensor(3, dtype=torch.int32)}, {"x": 1}),
    ]  # fmt: skip
    assert len({first, *others}) == 5
