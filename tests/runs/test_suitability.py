"""What of a data set is left out, and whether a recipe can train on it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.catalogue import load
from crossreid.data.records import Record, Split
from crossreid.data.summary import summary_table
from crossreid.errors import CrossreidError
from crossreid.runs.recipe import load_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.runs.suitability import left_out, trainable
from crossreid.runs.train import train
from crossreid.training.checkpoint import load_checkpoint, save_checkpoint

RECIPE = str(SHIPPED / "baseline_manifest_visible.yaml")


@pytest.fixture(scope="module")
def visible(tmp_path_factory):
    """Twelve identities, four images each by one camera and one by another; two images are the same."""
    root = tmp_path_factory.mktemp("visible")
    rng = np.random.default_rng(0)
    lines = ["path,identity,camera,split,modalty"]
    for number in range(12):
        for k in range(4):
            pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((24, 40)))
            Image.fromarray(pixels).save(root / f"{number}_{k}.png")
            camera = 1 if number == 11 or k < 3 else 2
            lines.append(f"{number}_{k}.png,n{number},{camera},{'train' if number < 8 else 'test'},visible")
    lines.append("alone.png,n12,1,train,visible")
    Image.open(root / "0_0.png").convert("RGB").save(root / "alone.png", compress_level=1)
    (root / "x.heic").write_bytes(b"x")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def test_what_is_left_out_is_said(visible):
    training, test = left_out(load("manifest", visible))
    assert training.startswith("training: 1 of 9 identities have only one image")
    assert test.startswith("test: 4 of 16 queries have no match")


def test_a_recipe_for_visible_photographs_trains_on_them_and_others_name_the_key(visible):
    split = load("manifest", visible)
    suits, words = trainable(split, load_recipe(RECIPE))
    assert suits
    assert "steps per epoch of 32 images" in words
    suits, words = trainable(split, load_recipe(RECIPE, ["data.sampler.balance=modality"]))
    assert not suits
    assert "set data.sampler.balance=none, or for a manifest data.options.pseudo_infrared=query" in words


def test_check_says_it_all(visible):
    arguments = ["check", "manifest", str(visible), "--deep", "--recipe", RECIPE]
    result = CliRunner().invoke(app, arguments)
    text = " ".join(result.output.split())
    assert result.exit_code == 1, "a column that looks misspelled is a problem"
    assert "problem: column 'modalty' is not read. Did you mean 'modality'? Rename it." in text
    assert f"note: {RECIPE} can train on it" in text
    assert ".heic is not read" in text
    assert "1 images are near-duplicates of one of another identity" in text
    assert "4 of 16 queries have no match" in text
    assert "three numbers are minimum, median and maximum" in text
    assert "…" not in result.output, "no figure is cut"
    shallow = CliRunner().invoke(app, [argument for argument in arguments if argument != "--deep"])
    assert "1 images are near-duplicates of one of another identity" in " ".join(shallow.output.split())


def test_training_says_what_of_the_manifest_it_does_not_read_and_goes_on_after_the_key_levels(
    visible, tmp_path, capsys
):
    small = [
        f"data.root={visible}", "data.height=32", "data.width=16", "data.workers=0", "data.sampler.identities=2",
        "data.sampler.images=2",
        "method.backbone.name=test_resnet", "method.backbone.weights=none", "training.precision=32-true", "training.epochs=1",
        "training.schedule.warmup_epochs=0", "data.sampler.epoch=1",
    ]  # fmt: skip
    train(load_recipe(Path(RECIPE), small), tmp_path / "run")
    assert "note: column 'modalty' is not read." in capsys.readouterr().out
    last = tmp_path / "run" / "last.safetensors"
    stored = load_checkpoint(last)
    assert stored.facts["recipe"]["data"].pop("levels") == "full"
    save_checkpoint(last, stored)
    train(load_recipe(Path(RECIPE), [*small, "training.epochs=2"]), tmp_path / "run")
    with pytest.raises(CrossreidError, match=r"data\.levels was 'full', is 'picture'"):
        train(load_recipe(Path(RECIPE), [*small, "training.epochs=2", "data.levels=picture"]), tmp_path / "run")


def test_a_summary_cuts_no_figure_in_a_narrow_terminal_and_says_what_is_the_same_once():
    records = [Record(Path(f"{who}-{number}.jpg"), str(who)) for who in range(6) for number in range(3)]
    sizes = {record.path: (1000 + 500 * place, 1280) for place, record in enumerate(records)}
    split = Split(
        "manifest", Path(), "cross-modal", *(tuple(records[at : at + 5]) for at in (0, 5, 10)), tuple(records)
    )
    narrow = Console(width=60, file=io.StringIO())
    narrow.print(summary_table(split, sizes))
    text = narrow.file.getvalue()
    assert "…" not in text
    (heights,) = (line for line in text.splitlines() if "heights" in line)
    assert [cell.strip() for cell in heights.strip("│ ").split("│")] == ["heights, pixels", *["1280"] * 4]
    wide = Console(width=200, file=io.StringIO())
    wide.print(summary_table(split, sizes))
    assert "1000/2000/3000" in wide.file.getvalue()
    assert "1000/5250/9500" in wide.file.getvalue()
