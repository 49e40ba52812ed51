"""The commands of docs/mindspore.md, on a smaller world."""

import re
import shlex
from pathlib import Path

import pytest

from mindspore_runs import tiny_recipe, tiny_world
from typed_commands import ran

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "mindspore.md").read_text(encoding="utf-8")
    commands = [
        line for block in re.findall(r"^```bash\n(.*?)^```", page, flags=re.M | re.S) for line in block.splitlines()
    ]
    assert len(commands) == 4
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(tiny_world(tmp_path / "world"), "training.epochs=1")
    (tmp_path / "vd_synthetic").write_text(recipe.as_yaml())  # a file of that name comes before the package's recipe
    for command in commands:
        assert ran(*shlex.split(command)[1:])
    assert (tmp_path / "runs" / "imported" / "recipe.yaml").is_file()
