"""The demo on a world and a network so small that only its workings can be tested, not its scores."""

import functools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from crossreid.data.records import DataError
from crossreid.demo import demonstration
from crossreid.demo.demonstration import demo_recipe, fill_gallery, run_demo
from crossreid.evaluation.features import Features
from crossreid.runs.run import open_split
from few_fits import quick_drawings, quick_maps

SMALL = ["method.backbone.name=test_resnet", "data.sampler.identities=2", "data.sampler.images=4", "training.epochs=1",
         "training.precision=32-true", "data.height=32", "data.width=16", "data.sampler.epoch=2"]  # fmt: skip


@pytest.mark.slow
def test_it_reports_both_methods_and_both_floors_and_goes_on_where_it_was(tmp_path, monkeypatch):
    quick_maps(monkeypatch)
    quick_drawings(monkeypatch)
    monkeypatch.setattr(demonstration, "bf16_gain", lambda: 2.0)  # tests/training/test_bf16.py measures it, in seconds
    few_images = functools.partial(_few_images, demonstration.synthesise)
    monkeypatch.setattr(demonstration, "synthesise", few_images)
    said = []
    first = run_demo(tmp_path / "demo", identities=10, overrides=SMALL, say=said.append)
    names = list(dict.fromkeys(name for name, _ in first.scores))
    assert names == ["Variational distillation", "Identity + triplet", "Untrained network", "Raw pixels"]
    page = first.report.read_text(encoding="utf-8")
    for name in (*names, "chance"):
        assert name.lower() in page.lower(), name
    assert "times chance" in first.conclusion
    assert any("rendering" in line for line in said)
    assert torch.cuda.is_available() or "precision: bf16-mixed, the faster on this machine" in said
    assert_served_gallery(first, tmp_path / "demo")
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == sorted(told_by_the_tutorial())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.safetensors")}
    again = run_demo(tmp_path / "demo", identities=10, overrides=SMALL, say=lambda line: None)
    assert [score.to_json() for _, score in again.scores] == [score.to_json() for _, score in first.scores]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def told_by_the_tutorial():
    """The names in the table of docs/tutorial.md of what a demo leaves."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^|]+)` \|", page.partition("| in `demo/` |")[2], flags=re.M)
    return [name.strip("`/") for row in rows for name in row.split(", ")]


def _few_images(synthesise, *arguments, **options):
    return synthesise(*arguments, **{**options, "images_per_camera": 2, "size": (64, 32)})


def assert_served_gallery(result, out):
    """The gallery of the printed command holds every test image, embedded as its model embeds them."""
    from crossreid.data.images import load_image
    from crossreid.galleries import open_gallery
    from crossreid.inference.open_model import open_model

    name, run, where, flag, images, insecure = result.serve
    assert (name, flag, insecure) == ("serve", "--images", "--insecure")
    model = open_model(Path(run))
    with open_gallery(where, model=model.fingerprint, read_only=True) as gallery:
        assert len(gallery) == len(open_split(demo_recipe(out / "world")).test)
        for entry in gallery.sample(3):
            assert Path(entry.source).is_relative_to(images)
            image = model.transform(load_image(Path(entry.source), at_least=(32, 16)))[None]
            (row,) = model.embed(image, torch.tensor([int(entry.modality)])).numpy()
            np.testing.assert_allclose(entry.embedding, row, atol=1e-4)


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_world_of_somebody_else_is_refused_and_left_as_it_is(kind, tmp_path):
    world = tmp_path / "demo" / "world"
    world.parent.mkdir()
    if kind == "folder":
        (world / "deep").mkdir(parents=True)
        (world / "deep" / "thesis.txt").write_text("years")
    elif kind == "file":
        world.write_text("years")
    else:
        world.symlink_to("nowhere")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with pytest.raises(
        DataError, match=r"world exists but is not a rendered world .* Move it away, or choose another --out"
    ):
        run_demo(tmp_path / "demo", identities=10, overrides=SMALL, say=lambda line: None)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_a_gallery_of_another_model_is_moved_aside_with_what_was_enrolled(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from crossreid.evaluation.features import save
    from crossreid.galleries import Entry, GalleryLocked, open_gallery
    from crossreid.galleries.model_card import ModelCard
    from crossreid.inference import open_model as opening
    from crossreid.runs.preprocessing import Preprocessing

    run, where = tmp_path / "run", tmp_path / "gallery"
    run.mkdir()
    rows = np.eye(4, dtype=np.float32)
    same = np.zeros(4, dtype=np.int64)
    names = np.array(list("abcd"))
    save(Features(rows, names, same, same, np.arange(4), names, np.array(["both"] * 4)), run / "features.npz")
    seen = Preprocessing(128, 64)
    model = SimpleNamespace(fingerprint="ab" * 32, trained="not finished", preprocessing=seen)
    monkeypatch.setattr(opening, "open_model", lambda _: model)
    fill_gallery(run, where)
    for other in ("cd" * 32, "cd" * 32):
        aside = tmp_path / "now"
        where.rename(aside)
        with open_gallery(where, model=other, dimension=3) as gallery:
            gallery.add([Entry(np.ones(3), "enrolled by hand")])
        with open_gallery(where), pytest.raises(GalleryLocked):
            fill_gallery(run, where)
        said = []
        fill_gallery(run, where, said.append)
        (line,) = said
        assert "belonged to another model, cdcdcdcdcdcd: it was moved to " in line
        with open_gallery(where, model="ab" * 32, read_only=True) as gallery:
            assert len(gallery) == 4
            assert gallery.model_card() == ModelCard("not finished", seen.to_json())
        shutil.rmtree(aside)
    for name in ("gallery-of-cdcdcdcdcdcd", "gallery-of-cdcdcdcdcdcd-2"):
        with open_gallery(tmp_path / name, model="cd" * 32, read_only=True) as gallery:
            assert [entry.id for entry in gallery.get(["enrolled by hand"])] == ["enrolled by hand"]


def test_test_identities_are_never_trained_on(tmp_path):
    from crossreid.data.synthetic import synthesise

    world = synthesise(tmp_path / "world", "sysu-mm01", 12, 0, images_per_camera=1, size=(32, 16), workers=1)
    split = open_split(demo_recipe(world))
    seen = {record.identity for record in (*split.train, *split.validation)}
    assert seen.isdisjoint(record.identity for record in split.test)
