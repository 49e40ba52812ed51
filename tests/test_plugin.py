"""The example plugin, installed from its built wheel: trained, evaluated and listed by a process that knows it by name only."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
COMMANDS = """
    import sys
    from typer.testing import CliRunner
    from crossreid.cli.app import app
    for command in {commands}:
        result = CliRunner().invoke(app, command)
        print(result.output)
        if result.exit_code:
            print(repr(result.exception))
            sys.exit(f"{{command}} failed")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package as an installer leaves it: a wheel of pure Python is installed by unpacking it."""
    place = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(ROOT / "examples" / "plugin", place / "source")
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(place)], cwd=source, capture_output=True, text=True, timeout=120
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def write_folders(root, identities=8, cameras=2, images=4):
    draw = np.random.default_rng(0)
    for identity in range(identities):
        colour = draw.integers(0, 255, 3)
        (root / f"p{identity}").mkdir(parents=True)
        for camera in range(1, cameras + 1):
            for image in range(images):
                pixels = np.clip(colour + draw.normal(0, 20, (64, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / f"p{identity}" / f"{camera}_{image}.jpg")


@pytest.mark.slow
def test_an_installed_plugin_trains_evaluates_and_lists_its_keys(installed, tmp_path):
    write_folders(tmp_path / "data" / "folders")
    commands = [
        ["train", str(ROOT / "examples" / "plugin" / "recipe.yaml"), "--out", "run"],
        ["evaluate", "run"],
        ["recipe", "--keys"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(COMMANDS).format(commands=commands)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    logged = {name for row in rows for name in row.get("losses", {})}
    assert {"identity", "supervised_contrastive"} <= logged
    assert 0 <= json.loads((tmp_path / "run" / "scores.json").read_text())[0]["mAP"] <= 1
    assert "cosine_baseline" in done.stdout
    assert "`method.scale`" in done.stdout


def test_every_file_of_the_example_is_short():
    for path in (ROOT / "examples" / "plugin").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 80, path
