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
    "data.sampler.epoch=2", "training.epochs=1", "training.schedule.warmup_epochs=0",
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


EACH = """
import contextlib, io, json, sys
from pathlib import Path
import crossreid
from crossreid.cli import main
told = [crossreid.__file__]
for words in json.loads(sys.argv[1]):
    before = set(Path().rglob("*"))
    sys.argv, out, said = ["crossreid", *words], io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code
    told.append([status, out.getvalue(), said.getvalue(), set(Path().rglob("*")) != before])
print(json.dumps(told))
"""


@pytest.mark.slow
def test_an_installed_wheel_trains_and_evaluates_with_what_is_mandatory_and_names_in_one_line_each_extra(command):
    """All but the first command in one process: half of the seconds of each are imports."""
    listed = command("recipes", "list").stdout.splitlines()
    assert len(listed) == 1 + len(list((ROOT / "src/crossreid/runs/recipes").iterdir()))
    small = [part for each in SMALL for part in ("--set", each)]
    steps = [
        ("synth", "world", "--identities", "8", "--images", "2", "--size", "32x16"),
        ("recipes", "copy", "vd_synthetic", "mine.yaml"),
        ("train", "mine.yaml", "--out", "run", *small),
        ("evaluate", "run"),
    ]
    done = command("-c", EACH, json.dumps([*steps, *EXTRAS.values()]), program="python")
    assert done.returncode == 0, done.stderr
    where, *told = json.loads(done.stdout)
    assert Path(where).is_relative_to(command.environment)
    trained, asked = told[: len(steps)], told[len(steps) :]
    for step, (status, _, said, _) in zip(steps, trained, strict=True):
        assert status == 0, f"{step}\n{said}"
    assert "rank-1" in trained[-1][1]
    assert (command.place / "run" / "scores.json").is_file()
    for extra, (status, _, said, written) in zip(EXTRAS, asked, strict=True):
        assert status == 2, f"{extra}: {said}"
        (line,) = said.splitlines()
        assert re.fullmatch(rf"crossreid: .+ not installed: pip install 'crossreid\[{extra}\]'\.", line), line
        assert not written, f"{extra} is refused before anything is written"
