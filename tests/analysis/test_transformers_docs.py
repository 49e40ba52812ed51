"""docs/transformers.md: its commands run, on a small world and a small transformer."""

import json
import re
import shlex
from pathlib import Path

import onnx
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "transformers.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.M | re.S) for line in block.splitlines()]
SMALL = ["method.backbone.name=test_vit", "method.stages.split=3", "training.epochs=1", "data.sampler.identities=2",
         "data.sampler.images=2", "training.schedule.warmup_epochs=0"]  # fmt: skip
JIGSAW = [each for each in SMALL if "split" not in each] + [
    "method.parts=2", "method.backbone.weights=none", "data.height=48", "data.width=32", "data.workers=0",
    "training.precision=32-true",
]  # fmt: skip


def test_every_command_of_the_page_runs(tmp_path, monkeypatch):
    """A two-stream ViT is trained, opened, explained by both maps and exported."""
    synthesise(tmp_path / "data" / "synthetic", "sysu-mm01", 8, 0, images_per_camera=1, size=(64, 32), workers=1)
    (tmp_path / "data" / "SYSU-MM01").symlink_to("synthetic")
    monkeypatch.chdir(tmp_path)
    for line in LINES:
        words = shlex.split(line)[1:]
        small = JIGSAW if "transreid" in line else SMALL
        words += [part for each in small for part in ("--set", each)] if words[0] == "train" else []
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
        assert "no rollout" not in done.output
    recipe = Path("runs/vit/recipe.yaml").read_text()
    assert "last_stride_one: false" in recipe, "what was applied is what is kept"
    for row in json.loads(Path("views/attention.json").read_text())["rows"]:
        assert [one["kind"] for one in row["maps"]] == ["grad-cam", "rollout"]
        assert [(len(one["heat"]), len(one["heat"][0])) for one in row["maps"]] == [(4, 2), (4, 2)]
    (images, *_) = onnx.load("runs/vit/model.onnx").graph.input
    assert [axis.dim_value for axis in images.type.tensor_type.shape.dim][1:] == [3, 64, 32]

    given = [part for each in (*SMALL, "method.backbone.last_stride_one=true") for part in ("--set", each)]
    done = CliRunner().invoke(app, ["train", "recipes/idkl_synthetic.yaml", "--out", "runs/no", *given])
    assert done.exit_code != 0
    assert "last_stride_one=false" in f"{done.output}{done.exception}"
