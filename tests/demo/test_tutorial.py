"""docs/tutorial.md: its commands run in their order, on fewer and smaller images with a smaller network, and print what it shows.

Numbers are other ones here, and how many lines of a kind there are; all else must be as on the page. Somebody marks matches on the
page of the service in a browser, and the marks are trained on.
"""

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import typer.main
from safetensors.torch import save_file

from browsing import BROWSER
from crossreid.data.readers.manifest import parse
from few_fits import quick_layouts, quick_maps
from forked import Forked, command, ready_for_runs
from served_command import free_port

DOCS = Path(__file__).resolve().parents[2] / "docs"
SMALLER = {
    "tf_efficientnet_lite0": "test_efficientnet",
    "--identities 60 --images 3 --size 128x64": "--identities 10 --images 1 --size 64x32",
    "--identities 20 --images 2 --size 128x64": "--identities 4 --images 2 --size 64x32",
    "--size 80x40": "--size 48x32",
    "height: 80": "height: 48",
    "width: 40": "width: 32",
    "workers: 1": "workers: 0",
    "identities: 8, images: 8": "identities: 2, images: 4",
    "  epochs: 16": "  epochs: 2",
    "validate_every: 16": "validate_every: 2",
    "warmup_epochs: 2": "warmup_epochs: 0.1",
}


def tutorial_run():
    spec = importlib.util.spec_from_file_location("tutorial_run", DOCS / "tutorial_run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks there for its annotations
    spec.loader.exec_module(module)
    return module


RUN = tutorial_run()
PAGE = RUN.TUTORIAL.read_text(encoding="utf-8")


def smaller(text):
    for shown, here in SMALLER.items():
        text = text.replace(shown, here)
    return text


def in_fork(words, slave):
    """A command of the page as a process of its own with a terminal; of other programs, that program."""
    if words[0] != "crossreid":
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
    port = ["--port", str(free_port())] if words[1] == "serve" else []
    return Forked(at_terminal, slave, *words[1:], *port)


def at_terminal(slave, *words):
    os.environ["TERM"] = "dumb"
    os.dup2(slave, 1)
    os.dup2(slave, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
    command(*words)


def ready_for_commands():
    """What many of the commands would import and build, each for itself."""
    import crossreid.inference.embed
    import crossreid.reporting.plotting
    import crossreid.reporting.report
    import crossreid.service.application  # noqa: F401
    from crossreid.cli.app import app

    typer.main.get_command(app)
    ready_for_runs()


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH")
def test_the_page_prints_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick_maps(monkeypatch)
    quick_layouts(monkeypatch)
    ready_for_commands()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("test_efficientnet", num_classes=7)
    save_file(network.state_dict(), "weights.safetensors")
    blocks = RUN.blocks_of(PAGE)
    RUN.run_page(blocks, in_fork, changed=smaller, picture=tmp_path / "drawn" / "search_page.png")
    for block in blocks:
        if block.language == "text":
            assert RUN.differences(smaller(block.text), block.printed) == [], block.printed
    # What was marked was trained on, and the test stayed as it was.
    first, more = parse(Path("photos.csv")), parse(Path("more.csv"))
    named = {record.identity for record in more.train} - {record.identity for record in first.train}
    assert named
    assert all(name.startswith("marked-") for name in named)
    assert (more.query, more.gallery, more.validation) == (first.query, first.gallery, first.validation)
    assert json.loads(Path("runs/again/start.json").read_text(encoding="utf-8"))
    assert Path("drawn/search_page.png").stat().st_size > 10_000
    RUN.draw(blocks, tmp_path / "drawn")
    shown = re.findall(r"\]\(figures/tutorial/([^)]+)\)", PAGE)
    assert sorted(path.name for path in Path("drawn").iterdir()) == sorted(shown)
    for name in shown:
        assert (DOCS / "figures" / "tutorial" / name).stat().st_size < 150_000


def test_a_changed_form_of_an_output_is_found():
    shown = (
        "epoch 1/2 ━━━━ 10/10 loss 3.5\nepoch 2/2 ━━━━ 10/10 loss 3.4\n rank-1   mAP\n  27.78 -9.00\nfound in 2.5 s\n"
    )
    other = "epoch 1/9 ━━ 4/4 loss 1.25\n rank-1 mAP\n 7.0  19.4\nfound in\n12 s\n"
    assert RUN.differences(shown, other) == []
    assert RUN.differences(shown, other.replace("mAP", "mINP")) == ["- mAP", "+ mINP"]
    assert RUN.differences(shown, other.replace("12 s", "12 s: 3")) != []
    assert RUN.differences(shown, "") != []


def test_every_block_of_the_page_is_run_or_compared():
    fences = re.findall(r"^```(\w*)", PAGE, flags=re.M)
    assert {fence for fence in fences if fence} == {"bash", "text", "yaml"}
    blocks = RUN.blocks_of(PAGE)
    assert len(blocks) * 2 == len(fences)
    assert all(block.text.strip() for block in blocks)
    assert all(block.title for block in blocks if block.language == "yaml")
    for before, block in itertools.pairwise(blocks):
        assert block.language != "text" or before.language == "bash"
    for text in SMALLER:
        assert text in PAGE, text
