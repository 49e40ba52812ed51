"""Pictures that ask a gallery: embedded by its own model, as it embeds, and their own entries marked."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crossreid.cli.app import app, main
from crossreid.data.records import INFRARED, VISIBLE
from crossreid.galleries import add_folder, open_gallery, restore
from crossreid.galleries.asking import holds_pictures
from crossreid.inference.embed import embed
from crossreid.inference.open_model import open_model
from crossreid.runs.recipe import make_recipe
from served import make_place
from small_model import recipe_of, write_run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("place"))


def found(*arguments, file):
    result = CliRunner().invoke(app, ["gallery", "search", *map(str, arguments), "--k", "50", "--json", str(file)])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return json.loads(file.read_text()), result


def expected(place, paths, modality=VISIBLE, *, together=False):
    from served import embedded

    class Running:
        class service:
            model = open_model(place.run)

    single, as_set = embedded(Running, paths, int(modality))
    with open_gallery(place.gallery, read_only=True) as gallery:
        return [
            dict(zip(one.ids, one.scores, strict=True)) for one in gallery.search(as_set if together else single, 50)
        ]


def scores(answer):
    return {match["id"]: match["score"] for match in answer["matches"]}


def test_a_photograph_is_embedded_with_the_gallerys_own_model(place, tmp_path, monkeypatch):
    photo = place.images[3]
    (answer,), result = found(place.gallery, photo, file=tmp_path / "a.json")
    (wanted,) = expected(place, [photo])
    assert scores(answer) == pytest.approx(wanted, abs=1e-4)
    assert len(wanted) == len(place.images)
    assert [match["id"] for match in answer["matches"] if match["is_query"]] == [str(photo)]
    assert [line.split("\t")[7] for line in result.stdout.splitlines()].count("the query") == 1
    monkeypatch.chdir(photo.parent)
    (answer,), _ = found(place.gallery, photo.name, file=tmp_path / "b.json")
    assert [match["id"] for match in answer["matches"] if match["is_query"]] == [str(photo)], "by whatever path"
    shutil.copy(photo, tmp_path / "copy.jpg")
    (answer,), _ = found(place.gallery, tmp_path / "copy.jpg", "--query-modality", "infrared", file=tmp_path / "c.json")
    assert scores(answer) == pytest.approx(expected(place, [photo], INFRARED)[0], abs=1e-4)
    assert not any(match["is_query"] for match in answer["matches"])


def test_the_images_of_a_folder_ask_each_or_as_one(place, tmp_path):
    folder = tmp_path / "tracklet"
    folder.mkdir()
    for number, path in enumerate(place.images[:3]):
        (folder / f"{number}.jpg").symlink_to(path)
    answers, _ = found(place.gallery, folder, file=tmp_path / "each.json")
    assert [answer["query"] for answer in answers] == [str(folder / f"{number}.jpg") for number in range(3)]
    for answer, wanted in zip(answers, expected(place, place.images[:3]), strict=True):
        assert scores(answer) == pytest.approx(wanted, abs=1e-4)
    (answer,), _ = found(place.gallery, folder, "--tracklet", file=tmp_path / "one.json")
    assert answer["query"] == str(folder)
    assert scores(answer) == pytest.approx(expected(place, place.images[:3], together=True)[0], abs=1e-4)
    own = {match["id"] for match in answer["matches"] if match["is_query"]}
    assert own == set(map(str, place.images[:3])), "links are followed"


def test_pictures_ask_with_the_pixels_that_the_model_takes_in_and_as_a_manifest_cuts_them(tmp_path):
    folder, run = tmp_path / "thermal", tmp_path / "run"
    folder.mkdir()
    values = np.random.default_rng(0).integers(7300, 8200, (2, 96, 64)).astype(np.uint16)
    for number, grey in enumerate(values):
        Image.fromarray(grey).save(folder / f"{number}.png")
    rows = [
        f"{number}.png,{camera},{camera},infrared,'{box}'"
        for number in range(2)
        for camera, box in ((1, "0,0,32,96"), (2, "32,0,32,96"))
    ]
    (folder / "manifest.csv").write_text("\n".join(["path,identity,camera,modality,box", *rows]).replace("'", '"'))
    recipe = recipe_of("baseline").model_dump(mode="json")
    scale = {"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3]}
    recipe["data"] |= {"normalise": scale, "levels": {"1": [7300, 8199], "2": [7000, 8500]}}
    write_run(run, make_recipe(recipe))
    embed(run, folder, out=tmp_path / "embeddings", precision="float32", workers=0)
    model = open_model(run)
    with open_gallery(tmp_path / "gallery", model=model.fingerprint, dimension=model.dimension) as gallery:
        add_folder(gallery, tmp_path / "embeddings")
    for asked in (folder, folder / "manifest.csv"):
        answers, _ = found(tmp_path / "gallery", asked, file=tmp_path / "own.json")
        assert len(answers) == 4
        for answer in answers:
            own = [match for match in answer["matches"] if match["is_query"]]
            assert [match["id"] for match in own] == [answer["query"]], "another part of the picture is not the query"
            assert own[0]["score"] == pytest.approx(1, abs=1e-5)
    (answer,), _ = found(
        tmp_path / "gallery", folder / "0.png", "--query-modality", "infrared", file=tmp_path / "whole.json"
    )
    own = {match["id"] for match in answer["matches"] if match["is_query"]}
    assert own == {f"{folder}/0.png#xywh=0,0,32,96", f"{folder}/0.png#xywh=32,0,32,96"}, (
        "the parts of a whole picture are of its file"
    )


def test_a_picture_without_colour_is_doubted(place, tmp_path):
    grey = next(path for path in place.images if (np.ptp(pixels(path), axis=2) == 0).all())
    _, result = found(place.gallery, grey, file=tmp_path / "x.json")
    assert "has no colour and is taken as visible" in result.stderr
    _, result = found(place.gallery, grey, "--query-modality", "visible", file=tmp_path / "x.json")
    assert result.stderr == ""


def pixels(path):
    from crossreid.data.images import load_image

    return load_image(path)


def test_where_its_model_lies_is_kept_and_can_be_named(place, tmp_path, capsys):
    photo, run = place.images[0], tmp_path / "moved"
    shutil.copytree(place.run, run)
    own = tmp_path / "own"
    model = open_model(place.run)
    with open_gallery(own, model=model.fingerprint, dimension=model.dimension) as gallery:
        assert gallery.run() is None
    assert "does not record where its model is" in refused(capsys, own, photo)
    (answer,), _ = found(own, photo, "--run", run, file=tmp_path / "x.json")
    assert answer["matches"] == []
    with open_gallery(own) as gallery:
        add_folder(gallery, place.gallery.parent / "embeddings")
        assert gallery.run() == place.run
        gallery.note_run(run)
        gallery.note_run(tmp_path / ("x" * 2000))  # longer than is kept
        gallery.compact()
        gallery.snapshot(tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "restored.db")
    for where in (own, tmp_path / "copy", tmp_path / "restored.db"):
        with open_gallery(where, read_only=True) as gallery:
            assert gallery.run() == run
    shutil.rmtree(run)
    assert "moved, where the model of the gallery lay, is not there" in refused(capsys, own, photo)
    write_run(tmp_path / "other", recipe_of("baseline"))
    assert "other is not the model of" in refused(capsys, own, photo, "--run", tmp_path / "other")


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["gallery", "search", *map(str, arguments)])
    assert ended.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_what_cannot_ask_is_named(place, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    for arguments, told in (
        (
            [tmp_path / "none.jpg"],
            "none.jpg not found. Expected an image, a folder of images, a manifest, or embeddings",
        ),
        ([tmp_path / "empty"], "embeddings.safetensors not found"),
        ([tmp_path / "text.jpg"], "text.jpg is not an image that can be decoded"),
        ([place.images[0], "--query-modality", "thermal"], "expected visible or infrared"),
        (["--id", place.images[0], "--tracklet"], "--tracklet, --query-modality, --run and --device apply to images"),
    ):
        assert told in refused(capsys, place.gallery, *arguments)
    assert not holds_pictures(place.gallery.parent / "embeddings")
    assert holds_pictures(place.world)
