"""Runs, seeds and stages in folders, and what each is called."""

from pathlib import Path

import pytest

from crossreid.errors import CrossreidError
from crossreid.runs.folders import named_runs, seeds_of, titles_of


def run(folder):
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").touch()
    return folder


def test_runs_of_the_same_name_are_told_apart():
    paths = [Path("a/all-vd"), Path("b/all-vd"), Path("b/all-ib")]
    assert list(titles_of(paths).values()) == ["a/all-vd", "b/all-vd", "all-ib"]


def test_seeds_are_in_the_order_of_their_numbers(tmp_path):
    seeds = [run(tmp_path / f"seed-{seed}") for seed in (10, 9)]
    assert seeds_of(tmp_path) == seeds[::-1]
    assert seeds_of(seeds[0]) == [seeds[0]]
    with pytest.raises(CrossreidError, match=r"holds no run: expected .* or one with seed-\* runs"):
        seeds_of(tmp_path / "seed-9" / "none")


def test_runs_seeds_and_stages_are_told_apart(tmp_path):
    vkd, seeds = tmp_path / "vkd", tmp_path / "seeds"
    teacher, student = run(vkd / "teacher"), run(vkd / "student")
    each = [run(seeds / f"seed-{seed}") for seed in (0, 1)]
    assert named_runs([vkd]) == {"teacher": [teacher], "student": [student]}
    assert list(named_runs([vkd, seeds], {"vkd/student": "S"})) == ["vkd/teacher", "S", "seeds"]
    assert named_runs([vkd, seeds])["seeds"] == each
    staged = tmp_path / "staged"
    for seed in (0, 1):  # stages of several seeds
        run(staged / f"seed-{seed}" / "teacher")
        run(staged / f"seed-{seed}" / "student")
    assert {name: len(runs) for name, runs in named_runs([staged]).items()} == {"teacher": 2, "student": 2}
    with pytest.raises(CrossreidError, match="'pupil': nothing has this name; expected one of: teacher, student"):
        named_runs([vkd], {"pupil": "P"})
    with pytest.raises(CrossreidError, match="two of teacher, student have the same name"):
        named_runs([vkd], {"teacher": "student"})
    with pytest.raises(CrossreidError, match="holds no run"):
        named_runs([tmp_path])
