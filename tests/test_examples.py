"""The scripts and the notebook of examples/, run as they are on small images."""

import ast
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crossreid.data.synthetic import synthesise
from few_fits import quick_layouts, quick_maps
from forked import Forked, text_of

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SMALL = [
    "data.height=32", "data.width=16", "data.workers=0", "data.sampler.identities=2", "data.sampler.images=4",
    "data.sampler.epoch=2", "method.backbone.name=test_resnet", "method.backbone.weights=none", "training.epochs=1",
    "training.precision=32-true", "training.schedule.warmup_epochs=0",
]  # fmt: skip

pytestmark = pytest.mark.slow


def run(name, *arguments):
    """Run a script as `python examples/NAME` does, in this process."""
    before = sys.argv
    sys.argv = [name, *map(str, arguments)]
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        sys.argv = before


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with `photographs/`, a folder for each identity, and the run that was trained on them."""
    place = tmp_path_factory.mktemp("examples")
    world = synthesise(place / "world", "manifest", 8, 0, images_per_camera=2, size=(64, 32), workers=1)
    shutil.copytree(world / "images", place / "photographs", ignore=shutil.ignore_patterns("c3_*", "c6_*"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run(
            "train_on_photographs.py",
            "photographs",
            "--out",
            "run",
            *(part for key in SMALL for part in ("--set", key)),
        )
    return place


def test_photographs_are_trained_on_and_scored(place):
    manifest = (place / "photographs" / "manifest.csv").read_text(encoding="utf-8").splitlines()
    assert len(manifest) == 1 + len(list((place / "photographs").glob("*/*.jpg")))
    assert 0 <= json.loads((place / "run" / "scores.json").read_text())[0]["mAP"] <= 1


def test_a_folder_is_searched_and_finds_the_photograph_itself(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    photograph = sorted(Path("photographs").glob("*/*.jpg"))[3]
    for _ in range(2):  # the second time with the gallery of the first
        run("search_folder.py", "run", "photographs", photograph, "--gallery", "seen", "--k", "3")
        first, *others = capsys.readouterr().out.splitlines()
        score, source = first.split()
        assert source == str(photograph)
        assert float(score) > 0.99  # the folder was embedded in bf16, where that is faster
        assert len(others) == 2


def test_features_of_another_tool_are_scored(tmp_path, monkeypatch, capsys):
    """Identities that lie far apart: everything right comes first, re-ranked or not."""
    monkeypatch.chdir(tmp_path)
    identities = np.arange(40) % 5
    np.save("features.npy", np.eye(5)[identities] + np.random.default_rng(0).normal(0, 0.01, (40, 5)))
    rows = [f"p{one},{number % 4 + 1},{'query' if number < 10 else 'gallery'}" for number, one in enumerate(identities)]
    Path("images.csv").write_text("\n".join(["identity,camera,role", *rows]))
    run("score_features.py", "features.npy", "images.csv")
    plain, reranked = capsys.readouterr().out.splitlines()
    assert "rank-1 100.00" in plain
    assert "10 queries and 0 skipped" in plain
    assert "rank-1 100.00" in reranked
    assert "k-reciprocal" in reranked
    Path("images.csv").write_text("\n".join(["identity,camera,role", *rows[1:]]))
    with pytest.raises(SystemExit, match=r"39 rows, but features\.npy has 40"):
        run("score_features.py", "features.npy", "images.csv")


def test_a_method_is_trained_and_known_by_name(tmp_path):
    """In processes of its own: what it registers would be a method of every test that follows."""
    log, words = tmp_path / "log", (tmp_path / "world", tmp_path / "run", "--identities", "8", "--epochs", "1")
    assert Forked(run, "write_a_method.py", *words, log=log).wait(300) == 0, text_of(log)
    assert "sysu-mm01, all, single-shot: rank-1" in text_of(log)
    logged = {
        name
        for row in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        for name in json.loads(row).get("losses", {})
    }
    assert logged >= {"identity", "compact"}
    by_name = re.search(r"crossreid (--plugin .*)", (EXAMPLES / "write_a_method.py").read_text(encoding="utf-8"))[1]
    *words, override = re.match(r'(.*) "(.*)"', by_name).groups()
    by_name = subprocess.run(
        [sys.executable, "-m", "crossreid", *words[0].split(), override],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "name: smoothed" in by_name.stdout


def test_the_notebook_goes_from_images_to_a_report(tmp_path, monkeypatch, capsys):
    """Cell by cell in one namespace, the value of a last expression kept, as a notebook's kernel does; it holds no outputs."""
    notebook = json.loads((EXAMPLES / "from_images_to_a_report.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    quick_maps(monkeypatch)
    quick_layouts(monkeypatch)
    assert len({cell["id"] for cell in cells}) == len(cells)
    monkeypatch.chdir(tmp_path)
    space, shown = {"__name__": "__main__"}, []
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"]
        assert cell["execution_count"] is None
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), cell["id"], "exec"), space)
        if (
            last is not None
            and (value := eval(compile(ast.Expression(last.value), cell["id"], "eval"), space)) is not None
        ):
            shown.append(value)
    (sheet,) = shown
    assert np.asarray(sheet).std() > 10  # pictures, not a white page
    said = capsys.readouterr().out
    assert "images of 16 identities" in said
    assert "rank-1" in said
    page = tmp_path / "runs" / "photographs" / "report.html"
    assert page.stat().st_size > 50_000
    assert "<svg" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_stay_short_and_are_listed(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80
    assert f"`{path.name}`" in (EXAMPLES / "README.md").read_text(encoding="utf-8")
