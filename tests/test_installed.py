"""The wheel, installed with what is mandatory into an environment of its own, and used in an empty folder: without this repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NO_WAY = re.compile(r"Failed to (fetch|download)|error sending request|dns error|Connection refused", re.IGNORECASE)
SMALL = [
    "data.root=world", "data.height=32", "data.width=16", "data.sampler.identities=2", "data.sampler.images=4",
    "training.epochs=1", "training.schedule.warmup_epochs=0",
]  # fmt: skip
EXTRAS = {  # a command of each
    "search": ("gallery", "create", "seen", "--model", "x", "--dimension", "8"),
    "serve": ("serve", "run", "seen", "--insecure"),
    "milvus": ("gallery", "create", "seen.db", "--model", "x", "--dimension", "8"),
    "export": ("export", "run", "--to", "onnx"),
    "analysis": ("plot", "run"),
    "video": ("watch", "gate.mp4", "--run", "run", "--out", "watched"),
    "mindspore": ("import", "weights.ckpt", "--out", "imported"),
}


def uv(*arguments):
    """The end of uv as `make setup` has it: from its cache, and from an index only where that lacks something."""
    program = shutil.which("uv")
    start = [program] if program else [sys._base_executable, "-m", "uv"]
    for offline in (["--offline"], []):
        done = subprocess.run(
            [*start, *arguments, *offline], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode == 0:
            return
    if "No module named uv" in done.stderr:
        pytest.skip("uv is not installed; `make setup` does it")
    if NO_WAY.search(done.stderr):
        pytest.skip(f"uv has no way to get what it needs: {done.stderr[-300:]}")
    raise AssertionError(done.stderr)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--wheel", "--out-dir", str(folder), ".")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def disk():
    """A folder on a disk, where uv's cache is and links cost nothing: an environment is gigabytes."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


def take_over_bytecode(environment):
    """What is compiled here of the same libraries; Python compiles anew what is not the same. Torch alone takes ten seconds."""
    here = Path(sysconfig.get_path("purelib"))
    (there,) = environment.glob("lib/*/site-packages")
    for compiled in here.rglob("__pycache__/*.pyc"):
        other = there / compiled.relative_to(here)
        if (other.parents[1] / f"{compiled.name.partition('.')[0]}.py").is_file():
            other.parent.mkdir(exist_ok=True)
            try:
                os.link(compiled, other)
            except OSError:  # of another disk
                shutil.copy(compiled, other)


@pytest.fixture(scope="module")
def command(wheel, disk, tmp_path_factory):
    """A function that runs the installed command in a folder that began empty, and gives what it printed and its status."""
    environment = disk / "venv"
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    python = environment / "bin" / "python"
    lock = str(ROOT / "requirements.lock")
    uv("pip", "install", "--quiet", "--python", str(python), "--constraint", lock, str(wheel))
    take_over_bytecode(environment)
    place = tmp_path_factory.mktemp("empty")
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CROSSREID", "VIRTUAL"))
    }
    clean |= {"PATH": f"{environment / 'bin'}{os.pathsep}{os.defpath}", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(*arguments, program="crossreid"):
        return subprocess.run(
            [str(environment / "bin" / program), *arguments],
            cwd=place, env=clean, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    run.place, run.environment = place, environment
    return run


def test_the_wheel_holds_every_recipe_as_it_is_here(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if name.endswith((".yaml", "py.typed"))}
    here = ROOT / "src"
    wanted = [*here.glob("crossreid/runs/recipes/*.yaml"), here / "crossreid" / "py.typed"]
    assert held == {path.relative_to(here).as_posix(): path.read_bytes() for path in wanted}
    assert len(held) > 50


@pytest.mark.slow
def test_an_installed_wheel_trains_and_evaluates_with_what_is_mandatory(command):
    where = command("-c", "import crossreid; print(crossreid.__file__)", program="python")
    assert Path(where.stdout.strip()).is_relative_to(command.environment), where.stderr
    listed = command("recipes", "list").stdout.splitlines()
    assert len(listed) == 1 + len(list((ROOT / "src/crossreid/runs/recipes").iterdir()))
    world = ("synth", "world", "--identities", "8", "--images", "2", "--size", "32x16")
    small = [part for each in SMALL for part in ("--set", each)]
    for step in (
        world,
        ("recipes", "copy", "vd_synthetic", "mine.yaml"),
        ("train", "mine.yaml", "--out", "run", *small),
        ("evaluate", "run"),
    ):
        done = command(*step)
        assert done.returncode == 0, f"{step}\n{done.stderr}"
    assert "rank-1" in done.stdout
    assert (command.place / "run" / "scores.json").is_file()


EACH = """
import contextlib, io, json, sys
from crossreid.cli import main
told = {}
for extra, command in json.loads(sys.argv[1]).items():
    sys.argv, said = ["crossreid", *command], io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code
    told[extra] = [status, said.getvalue()]
print(json.dumps(told))
"""


@pytest.mark.slow
def test_what_an_extra_is_for_names_it_in_one_line(command):
    """One process for all of them: half of its seconds are imports."""
    before = set(command.place.rglob("*"))
    done = command("-c", EACH, json.dumps(EXTRAS), program="python")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == list(EXTRAS)
    for extra, (status, said) in told.items():
        assert status == 2, f"{extra}: {said}"
        (line,) = said.splitlines()
        assert re.fullmatch(rf"crossreid: .+ not installed: pip install 'crossreid\[{extra}\]'\.", line), line
    assert set(command.place.rglob("*")) == before  # refused before anything is written
