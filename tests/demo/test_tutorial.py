"""docs/tutorial.md: every command runs on what a demo leaves behind, here one of few people and a small network."""

import re
import shlex
from pathlib import Path

import pytest

from crossreid.demo import demonstration
from crossreid.demo.demonstration import run_demo
from few_fits import quick_maps
from served_briefly import serve_briefly
from typed_commands import ran

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
SMALL = ["method.backbone.name=test_resnet", "data.sampler.identities=2", "data.sampler.images=2", "training.epochs=1",
         "training.precision=32-true", "data.height=48", "data.width=32"]  # fmt: skip


@pytest.mark.slow
def test_every_command_of_the_tutorial_runs(tmp_path, monkeypatch):
    quick_maps(monkeypatch)
    render = demonstration.synthesise
    monkeypatch.setattr(
        demonstration,
        "synthesise",
        lambda *given, **more: render(*given, **{**more, "images_per_camera": 2, "size": (64, 32)}),
    )
    monkeypatch.chdir(tmp_path)
    run_demo(Path("demo"), identities=10, overrides=SMALL, say=lambda line: None)
    named = re.findall(r"^\| `([^|]+)` \|", PAGE.partition("| in `demo/` |")[2], flags=re.M)
    left = [name.strip("`/") for row in named for name in row.split(", ")]
    assert sorted(left) == sorted(path.name for path in Path("demo").iterdir())
    answers = {}
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.M | re.S):
        for line in block.splitlines():
            program, *words = shlex.split(line)
            assert program == "crossreid"
            if words[0] == "serve":
                serve_briefly(words)
            else:
                answers[words[0]] = ran(*words)
    assert set(answers) == {"evaluate", "compare", "recipe", "gallery"}
    assert "mAP" in answers["evaluate"]
    assert answers["gallery"].count("visible") >= 1
