"""`crossreid plot` on what there is: files that can be looked at, and words for what cannot be drawn."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.reporting.plotting import plot
from crossreid.runs.recipe import make_recipe
from crossreid.runs.train import train
from few_fits import quick_maps

BACKBONE = {"name": "test_resnet", "weights": "none"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("plots")
    synthesise(place / "world", "sysu-mm01", 12, 0, images_per_camera=2, size=(32, 16), workers=1)
    for name, method in (
        ("vd", {"name": "variational_distillation", "backbone": BACKBONE}),
        (
            "official",
            {"name": "variational_distillation", "setting": "official", "branches": "shared", "backbone": BACKBONE},
        ),
        ("plain", {"name": "baseline", "backbone": BACKBONE}),
    ):
        data = {"name": "sysu-mm01", "root": str(place / "world"), "height": 32, "width": 16, "workers": 0,
                "sampler": {"identities": 2, "images": 4}}  # fmt: skip
        train(make_recipe({"data": data, "method": method, "training": {"epochs": 1}}), place / name)
    return place


@pytest.fixture(autouse=True)
def few_iterations(monkeypatch):
    """What a map looks like is tested in test_embedding_map.py."""
    quick_maps(monkeypatch)


@pytest.mark.slow
def test_runs_are_drawn_alone_and_together(runs, tmp_path):
    told = []
    written = plot([runs / "official", runs / "plain"], tmp_path, titles={"official": "Mine"}, say=told.append)
    assert told == [f"drawing {runs / name} ..." for name in ("official", "plain")]
    names = {path.name for path in written}
    stems = {"mine-branches", "plain-branches", "cmc", "joint-maps", "losses", "validation"}
    assert names == {f"{stem}{suffix}" for stem in stems for suffix in (".svg", ".png")}
    assert {path.name for path in tmp_path.iterdir()} == names
    for path in written:
        assert path.stat().st_size > 5_000


@pytest.mark.slow
def test_every_branch_has_a_map_of_v_and_of_z(runs):
    from crossreid.reporting.plotting import _branch_maps

    titles = [axes.get_title("left") for axes in _branch_maps(runs / "vd", 0).axes]
    expected = ("infrared branch", "visible branch", "shared branch", "joint")
    assert titles == [f"{space}, {name}" for space in "vz" for name in expected]
    assert len(_branch_maps(runs / "plain", 0).axes) == 1


@pytest.mark.slow
def test_features_are_drawn_with_and_without_a_protocol(runs, tmp_path):
    done = CliRunner().invoke(app, ["embed", str(runs / "vd"), "--out", str(tmp_path / "f.npz")])
    assert done.exit_code == 0, done.output
    drawn = CliRunner().invoke(
        app,
        [
            "plot",
            str(tmp_path / "f.npz"),
            "--protocol",
            "sysu-mm01",
            "--title",
            "f.npz=mine",
            "--out",
            str(tmp_path / "out"),
        ],
    )
    assert drawn.exit_code == 0, drawn.output
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {"mine-map", "features-cmc"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "not found. Expected a run's folder"), ("{", "cannot be plotted"), ('{"a": 1}', "found other keys"),
     ("[1]", "found other keys")],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_in_a_line(content, message, tmp_path):
    path = tmp_path / "what.json"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(app, ["plot", str(path)])
    assert result.exit_code != 0
    assert message in str(result.exception)


def test_a_study_is_drawn_from_its_folder(tmp_path):
    figures = {space: {name: [0.1, 0.2] for name in ("rank-1", "mAP")} for space in ("v", "z", "both")}
    rows = [
        {
            "key": "z-8",
            "title": "8",
            "group": "size of z",
            "place": 8.0,
            "published": None,
            "seeds": [0, 1],
            "figures": figures,
        }
    ]
    table = {"study": "z-size", "title": "t", "axis": "width of z", "reference": "z-8", "chance": 0.1, "rows": rows}
    (tmp_path / "table.json").write_text(json.dumps(table))
    assert {path.name for path in plot([tmp_path], tmp_path / "out")} == {
        f"study-z-size-{name}{suffix}" for name in ("rank-1", "mAP") for suffix in (".svg", ".png")
    }


def test_few_images_are_told_of(tmp_path):
    path = tmp_path / "few.npz"
    count = 4
    np.savez(
        path, embeddings=np.eye(count), identities=np.array(["a", "a", "b", "b"]), cameras=np.ones(count, dtype=int),
        modalities=np.array([0, 1, 0, 1]), positions=np.zeros(count, dtype=int), names=np.array([""] * count),
        roles=np.array(["query"] * count),
    )  # fmt: skip
    with pytest.raises(ValueError, match="at least 8 images to map, found 4"):
        plot([path], tmp_path)
