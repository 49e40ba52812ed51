"""`--backbone` on the command line: from a file of weights to a gallery that is searched and served, and what is refused."""

import json
import signal

import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.galleries import open_gallery
from crossreid.runs.named_network import pretrained_at
from forked import Forked, command
from served_command import answered, free_port
from weight_files import write_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A rendered world, files of weights, and a gallery of its images by one of them."""
    folder = tmp_path_factory.mktemp("zero-shot")
    synthesise(folder / "world", "manifest", 4, 0, images_per_camera=2, size=(64, 32), workers=1)
    for seed, name in enumerate(("w", "other")):
        write_weights(folder / f"{name}.safetensors", seed=seed)
    run(folder, "embed", str(folder / "world"), "--out", str(folder / "embeddings"), *network(folder))
    run(folder, "gallery", "add", str(folder / "gallery"), str(folder / "embeddings"))
    return folder


def network(place, weights="w", size="48x32"):
    return ["--backbone", "test_resnet", "--weights", str(place / f"{weights}.safetensors"), "--size", size]


def run(place, *arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_a_gallery_keeps_what_its_network_is_and_is_searched_with_it(place, tmp_path):
    with open_gallery(place / "gallery", create=False, read_only=True) as gallery:
        card, where = gallery.model_card(), gallery.run()
        count = len(gallery)
    assert card.trained.startswith("pretrained, not trained here: test_resnet, weights w.safetensors")
    assert card.preprocessing["height"] == 48
    assert pretrained_at(where).weights == str(place / "w.safetensors")
    picture = sorted((place / "world").rglob("*.jpg"))[0]
    found = tmp_path / "found.json"
    for options in ([], network(place)):
        run(
            place, "gallery", "search", str(place / "gallery"), str(picture), "--k", "2", "--json", str(found), *options
        )
        (answer,) = json.loads(found.read_text())
        assert answer["matches"][0]["is_query"]
        assert answer["matches"][0]["score"] > 0.99
    assert "test_resnet" in run(place, "gallery", "stats", str(place / "gallery"))
    assert count == len(list((place / "world").rglob("*.jpg")))
    arguments = ["gallery", "search", str(place / "gallery"), str(picture), *network(place, "other")]
    refused = CliRunner().invoke(app, arguments)
    said = str(refused.exception)
    assert said.startswith("--backbone test_resnet, weights ")
    assert "is not the model of" in said
    assert "--backbone NAME, with the gallery's own --weights, --size and --flip" in said


def test_an_empty_gallery_is_made_of_it_and_takes_no_other_embeddings(place, tmp_path):
    run(place, "gallery", "create", str(tmp_path / "mine"), *network(place))
    assert "added" in run(place, "gallery", "add", str(tmp_path / "mine"), str(place / "embeddings"))
    run(place, "gallery", "create", str(tmp_path / "other"), *network(place, "other"))
    refused = CliRunner().invoke(app, ["gallery", "add", str(tmp_path / "other"), str(place / "embeddings")])
    assert refused.exit_code != 0
    assert isinstance(refused.exception, CrossreidError)


def test_it_is_evaluated_and_its_scores_say_what_it_is(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = run(
        place, "evaluate", *network(place), "--data", "manifest", "--root", str(place / "world"),
        "--set", "data.workers=0", "--json", "scores.json",
    )  # fmt: skip
    assert "not trained here" in told
    (score,) = json.loads((tmp_path / "scores.json").read_text())
    assert score["trained"] == "pretrained, not trained here"
    (written,) = tmp_path.glob("pretrained/test_resnet/manifest-world-*/scores.json")
    assert json.loads(written.read_text())[0]["protocol"] == "cross-modal"


def test_it_is_served(place, tmp_path):
    pytest.importorskip("uvicorn")
    port = free_port()
    arguments = ["serve", str(place / "gallery"), *network(place), "--insecure", "--port", str(port)]
    arguments += ["--state", str(tmp_path / "state")]
    running = Forked(command, *arguments, log=tmp_path / "log")
    try:
        about = answered(f"http://127.0.0.1:{port}/v1/about").json()
    finally:
        running.send_signal(signal.SIGINT)
        running.wait()
    assert "pretrained, not trained here" in json.dumps(about)
    assert "WARNING: the model is pretrained, not trained here" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed"], "expected a RUN, or --backbone NAME"),
        (["embed", "RUN", "--weights", "w"], "--weights: needs --backbone NAME"),
        (["embed", "--backbone", "resnet18"], "has no test features of its own"),
        (["embed", "a", "b", "--backbone", "resnet18"], "either a RUN or --backbone"),
        (["embed", "WORLD", "--out", "x", "--backbone", "resnet5O"], "Similar names: resnet50"),
        (["embed", "WORLD", "--out", "x", "--backbone", "resnet18", "--size", "4"], "HEIGHTxWIDTH"),
        (["embed", "WORLD", "--out", "x", "--backbone", "resnet18", "--weights", "none"], "untrained network"),
        (["embed", "WORLD", "--out", "x", "--backbone", "resnet18", "--weights", "w.pth"], "w.pth not found"),
        (
            ["embed", "WORLD", "--out", "x", "--backbone", "resnet18", "--checkpoint", "last"],
            "--checkpoint is for a run",
        ),
        (["evaluate", "--backbone", "resnet18"], "--data NAME --root DIR"),
        (["evaluate", "RUN", "--backbone", "resnet18"], "no RUN"),
        (["evaluate", "RUN", "--out", "x"], "--out applies to --backbone"),
        (["serve", "--backbone", "resnet18"], "expected a GALLERY"),
        (["serve", "g", "--backbone", "resnet18", "--insecure", "--runtime", "onnx"], "crossreid export --backbone"),
        (["gallery", "create", "g"], "--model and --dimension, or --backbone"),
        (["gallery", "search", "g", "a.jpg", "--run", "r", "--backbone", "resnet18"], "expected one of them"),
        (["export", "RUN", "--backbone", "resnet18"], "either a RUN or --backbone"),
    ],
)
def test_what_it_cannot_stand_beside_is_said_in_a_line(arguments, message, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [str(place / "world") if argument == "WORLD" else argument for argument in arguments]
    result = CliRunner().invoke(app, given)
    assert result.exit_code != 0
    assert isinstance(result.exception, CrossreidError), result.exception
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
