"""The example plugin, installed from its built wheel: trained, evaluated and listed by a process that knows it by name only."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from forked import Forked, forget_modules, text_of

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


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
        ["train", str(ROOT / "examples" / "plugin" / "recipe.yaml"), "--out", "run", "--set", "data.sampler.epoch=2"],
        ["evaluate", "run"],
        ["recipe", "--keys"],
    ]
    log = tmp_path / "log"
    assert Forked(ran_with, installed, tmp_path, commands, log=log).wait(300) == 0, text_of(log)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    logged = {name for row in rows for name in row.get("losses", {})}
    assert {"identity", "supervised_contrastive"} <= logged
    assert 0 <= json.loads((tmp_path / "run" / "scores.json").read_text())[0]["mAP"] <= 1
    assert "cosine_baseline" in text_of(log)
    assert "`method.scale`" in text_of(log)


def ran_with(site, folder, commands):
    """Commands where `site` has packages, in a process that looks for them anew; the first that fails is the last."""
    forget_modules("crossreid")
    sys.path.insert(0, str(site))
    os.chdir(folder)
    from crossreid.cli.app import app

    for words in commands:
        result = CliRunner().invoke(app, words)
        print(result.output)
        if result.exit_code:
            raise RuntimeError(f"{words} failed: {result.exception!r}")


def test_every_file_of_the_example_is_short():
    for path in (ROOT / "examples" / "plugin").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) < 80, path
