"""benchmarks/fine_tuning.py on a few rendered animals and a weight file of a small network."""

import csv
import json
from pathlib import Path

import pytest
import timm
from safetensors.torch import save_file

from benchmark_modules import benchmark
from crossreid.data.synthetic import synthesise

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def fine_tuning(monkeypatch):
    with benchmark(monkeypatch, "fine_tuning") as found:
        yield found


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """Rendered animals, of whom the last two are of the test and must be seen by nothing."""
    folder = tmp_path_factory.mktemp("animals")
    synthesise(folder, "manifest", 12, 1, images_per_camera=2, size=(32, 20), workers=1)
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    cows = sorted({row["identity"] for row in rows})
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("path", "identity", "modality", "split"))
        for row in rows:
            split = "train" if row["identity"] in cows[:-2] else "gallery" if row["modality"] == "visible" else "query"
            table.writerow((row["path"], row["identity"], row["modality"], split))
    return folder, cows


def test_the_halves_share_no_cow_and_no_picture_is_on_both_sides(fine_tuning, animals, tmp_path):
    folder, cows = animals
    manifest, _ = fine_tuning.write_manifest(folder, tmp_path, (32, 20), validation=True)
    herd = fine_tuning.Herd(fine_tuning.read_rows(manifest))
    assert (herd.source, herd.cows) == (cows[:-2][0::2], cows[:-2][1::2])
    tested = {row["path"] for row in herd.tested}
    few, more, every = (herd.drawn(count, 3) for count in (1, 2, None))
    assert not tested & {row["path"] for row in every}
    assert len(few) == 2 * len(herd.cows)
    paths = [{row["path"] for row in rows} for rows in (few, more, every)]
    assert paths[0] < paths[1] < paths[2]
    assert {row["identity"] for row in herd.tested} == set(herd.cows)
    assert {row["path"] for row in herd.drawn(1, 4)} != paths[0]


def test_the_curve_is_measured_drawn_and_not_measured_again(fine_tuning, animals, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fine_tuning, "PARTS", 2)  # epochs
    weights, kept = tmp_path / "test_resnet.safetensors", tmp_path / "kept.json"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), weights)
    small = ["--steps", "2", "--source-steps", "2", "--size", "32x20", "--seeds", "0,1", "--images", "0", "1", "all"]
    few = [part for key in ("data.sampler.identities=2", "data.sampler.images=2") for part in ("--set", key)]
    given = [str(animals[0]), str(weights), str(tmp_path / "out"), *small, *few]
    runs = tmp_path / "out" / "fine-tuning-32x20-2"
    runs.mkdir(parents=True)
    kept_before = {(w, k, 1) for w in fine_tuning.WAYS for k in ("1", "all")} - {("started", "all", 1)}
    for way, images, seed in kept_before:
        (runs / f"{way}-{images}-{seed}.json").write_text(
            json.dumps({"way": way, "images": images, "seed": seed, "rank-1": 0.25, "mAP": 0.25, "mINP": 0})
        )
    fine_tuning.main([*given, "--json", str(kept), "--figure", str(tmp_path / "curve.svg")])
    told = json.loads(kept.read_text())
    found = {(row["way"], row["images"], row["seed"]) for row in told["rows"]}
    trained = {(w, k, s) for w in fine_tuning.WAYS for k in ("1", "all") for s in (0, 1)}
    assert found == trained | {("imagenet", "0", 0), ("started", "0", 0)}
    assert (told["source_cows"], told["herd_cows"]) == (5, 5)
    assert "<svg" in (tmp_path / "curve.svg").read_text()
    assert [path.name for path in runs.iterdir() if path.is_dir()] == ["source"]
    out = capsys.readouterr().out
    assert out.count("starts from") == 5, "both ways that start, twice each, and what the second seed lacked"
    table = fine_tuning.markdown(told["table"])
    assert table in out
    assert table.count(" ± ") == 2 * 6, "two numbers of three ways and two rows"
    (runs / "imagenet-1-0.json").write_text(
        json.dumps({"way": "imagenet", "images": "1", "seed": 0, "rank-1": 0.125, "mAP": 0.5, "mINP": 0})
    )
    (runs / "started-all-1.json").unlink()
    fine_tuning.main([*given, "--done"])
    assert not (runs / "started-all-1.json").exists(), "nothing is trained any more"
    assert "imagenet, 1 images, seed 0: 12.5 / 50.0" in capsys.readouterr().out


def test_the_page_shows_what_was_measured(fine_tuning):
    measured = json.loads((BENCHMARKS / "results" / "fine_tuning_cpu.json").read_text(encoding="utf-8"))
    rows = sorted(measured["rows"], key=lambda row: ["0", "1", "2", "4", "8", "all"].index(row["images"]))
    assert fine_tuning.summarised(rows) == measured["table"]
    page = (ROOT / "docs" / "fine_tuning.md").read_text(encoding="utf-8")
    assert fine_tuning.markdown(measured["table"]) in page
    assert f"{measured['tested']['infrared']} night pictures" in page
