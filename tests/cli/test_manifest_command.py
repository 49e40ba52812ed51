"""`crossreid manifest`: what was guessed is shown before anything is written, and nothing is written over."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.catalogue import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six animals, three photographs each with colour and one at night without, by two cameras."""
    root = tmp_path_factory.mktemp("animals")
    rng = np.random.default_rng(0)
    for number in range(6):
        (root / f"cow{number}").mkdir()
        for k in range(4):
            small = rng.integers(0, 256, (5, 4, 3 if k < 3 else 1), dtype=np.uint8)
            image = Image.fromarray(small.repeat(1 if k < 3 else 3, axis=2)).resize((24, 40))
            image.save(root / f"cow{number}" / f"cam{k % 2 + 1}_{k}.JPG", "JPEG")
    (root / "cow0" / "x.heic").write_bytes(b"x")
    return root


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.output.split()), result.exception


def test_nothing_is_written_before_it_was_looked_at(folder, tmp_path):
    out = tmp_path / "m.csv"
    code, text, _ = invoke("manifest", folder, "--out", out)
    assert code == 0
    assert not out.exists()
    for told in (
        "found 24 images of 6 identities", "modality: 18 visible, 6 infrared", "camera: 2 by image names",
        ".heic is not read", "what is in it", "nothing written; --yes writes",
    ):  # fmt: skip
        assert told in text


def test_it_is_written_with_yes_and_never_over_another(folder, tmp_path):
    out = tmp_path / "m.csv"
    code, text, _ = invoke("manifest", folder, "--out", out, "--yes", "--modality", "visible")
    assert (code, out.is_file()) == (0, True), text
    assert len(load("manifest", out).train) > 0
    before = out.read_bytes()
    code, _, error = invoke("manifest", folder, "--out", out, "--yes")
    assert code != 0
    assert "exists already" in str(error)
    assert out.read_bytes() == before
    assert invoke("manifest", folder, "--out", out, "--yes", "--replace")[0] == 0
    assert out.read_bytes() != before, "modality is guessed now"
    assert list(tmp_path.iterdir()) == [out]


def test_what_cannot_be_is_said(folder, tmp_path):
    for arguments, told in (
        ((folder, "--from", "folder"), "expected one of folders, names"),
        ((folder, "--modality", "radar"), "expected auto, visible or infrared"),
        ((tmp_path / "nowhere",), "is not a folder"),
        ((folder, "--from", "coco"), "expected one file ending in .json"),
        ((folder, "--from", "market-1501"), "`bounding_box_train/` not found"),
        ((tmp_path,), "has no folder with images"),
    ):
        code, _, error = invoke("manifest", *arguments)
        assert code != 0
        assert told in str(error)
