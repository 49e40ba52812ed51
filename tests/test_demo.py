"""The demo on a world and a network so small that only its workings can be tested, not its scores."""

from pathlib import Path

import numpy as np
import pytest
import torch

from crossreid.demo import demo_recipe, run_demo
from crossreid.runs import open_split

SMALL = ["method.backbone.name=test_resnet", "data.sampler.identities=2", "data.sampler.images=2", "training.epochs=1",
         "training.precision=32-true", "data.height=48", "data.width=32"]  # fmt: skip


@pytest.mark.slow
def test_it_reports_both_methods_and_both_floors_and_goes_on_where_it_was(tmp_path):
    said = []
    first = run_demo(tmp_path / "demo", identities=10, overrides=SMALL, say=said.append)
    names = list(dict.fromkeys(name for name, _ in first.scores))
    assert names == ["Variational distillation", "Identity + triplet", "Untrained network", "Raw pixels"]
    page = first.report.read_text(encoding="utf-8")
    for name in (*names, "chance"):
        assert name.lower() in page.lower(), name
    assert "times chance" in first.conclusion
    assert any("rendering" in line for line in said)
    assert_served_gallery(first, tmp_path / "demo")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.safetensors")}
    again = run_demo(tmp_path / "demo", identities=10, overrides=SMALL, say=lambda line: None)
    assert [score.to_json() for _, score in again.scores] == [score.to_json() for _, score in first.scores]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def assert_served_gallery(result, out):
    """The gallery of the printed command holds every test image, embedded as its model embeds them."""
    from crossreid.data.images import load_image
    from crossreid.search import open_gallery, open_model

    name, run, where, flag, images, insecure = result.serve
    assert (name, flag, insecure) == ("serve", "--images", "--insecure")
    model = open_model(Path(run))
    with open_gallery(where, model=model.fingerprint, read_only=True) as gallery:
        assert len(gallery) == len(open_split(demo_recipe(out / "world")).test)
        for entry in gallery.sample(3):
            assert Path(entry.source).is_relative_to(images)
            image = model.transform(load_image(Path(entry.source), at_least=(48, 32)))[None]
            (row,) = model.embed(image, torch.tensor([int(entry.modality)])).numpy()
            np.testing.assert_allclose(entry.embedding, row, atol=1e-4)


def test_test_identities_are_never_trained_on(tmp_path):
    from crossreid.data.synthetic import synthesise

    world = synthesise(tmp_path / "world", "sysu-mm01", 12, 0, images_per_camera=1, size=(32, 16), workers=1)
    split = open_split(demo_recipe(world))
    seen = {record.identity for record in (*split.train, *split.validation)}
    assert seen.isdisjoint(record.identity for record in split.test)
