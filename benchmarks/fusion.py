"""The gain from fusing embeddings and local features of animals: calibrated fusion against each score alone.

Two networks with ImageNet weights, not trained here, and SIFT, on the 41 training cows of CATTLE (night to day; the
test cows are not used at all) and on NYALA (each flank of an animal is an identity, other sightings only; and
pseudo-infrared copies against the photographs). For each split, the animals are halved at random: one half is used for
calibration and the other for testing, and then the other way round.

    python benchmarks/fusion.py IMAGES WEIGHTS OUT [--data NAME] [--splits N] [--shortlist B] [--json FILE]
    python benchmarks/fusion.py --write

NAME is cattle, nyala or nyala-infrared, IMAGES the folder of CATTLE or of NYALA, WEIGHTS a folder of the networks'
files (NETWORK.safetensors). New measurements replace those of the same data in --json; --write puts the table into
docs/fusion.md.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crossreid.data.images import load_image
from crossreid.data.pseudo_infrared import pseudo_infrared
from crossreid.evaluation.embedding_files import EMBEDDINGS, Embeddings, read_embeddings
from crossreid.evaluation.features import Features, positions_of, save
from crossreid.files import replacing, write_json, write_text
from crossreid.fusion.fuse import fuse
from crossreid.fusion.local_matching import Described, make_matcher
from crossreid.inference.embed import embed
from crossreid.reporting.study_table import spread
from crossreid.runs.named_network import PretrainedNetwork
from machine import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "fusion_cpu.json", ROOT / "docs" / "fusion.md"
NETWORKS = ("tf_efficientnet_lite0", "mobilenetv2_100")
SIZES = {"cattle": (136, 80), "nyala": (128, 160), "nyala-infrared": (128, 160)}
KEYS = ("rank-1", "mAP", "mINP")
TITLES = {
    "cattle": "cattle, night to day",
    "nyala": "nyala, other sightings",
    "nyala-infrared": "nyala, pseudo-infrared to visible",
}
BEGIN, END = "<!-- begin of the table -->", "<!-- end of the table -->"


class Remembered:
    """SIFT that compares no two images twice, whatever splits they are in; the same scores."""

    def __init__(self) -> None:
        self.matcher = make_matcher("sift")
        self.settings = self.matcher.settings
        self.described: dict[str, Described] = {}
        self.found: dict[tuple[str, str], float] = {}

    def describe(self, image: np.ndarray) -> Described:
        key = hashlib.sha256(image.tobytes()).hexdigest()
        if key not in self.described:
            self.described[key] = dict(self.matcher.describe(image)) | {"key": np.array(key)}
        return self.described[key]

    def compare(self, first: Described, second: Described) -> float:
        pair = str(first["key"]), str(second["key"])
        if pair not in self.found:
            self.found[pair] = self.matcher.compare(first, second)
        return self.found[pair]

    def match(self, first: np.ndarray, second: np.ndarray) -> float:
        return self.compare(self.describe(first), self.describe(second))


def manifest_of(data: str, images: Path, out: Path) -> Path:
    """The images to embed, with identity, camera (of nyala the sighting) and modality."""
    with (images / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    listed: list[tuple[Any, ...]] = []
    for row in rows:
        path = (images / row["path"]).resolve()
        if data == "cattle":
            if row["split"] == "train":
                listed.append((path, row["identity"], "", row["modality"]))
            continue
        sighting = Path(row["path"]).name.split("_")[0]
        copy = (out / "pseudo-infrared" / row["path"]).with_suffix(".png").resolve()
        if not copy.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            seed = int(hashlib.sha256(row["path"].encode()).hexdigest()[:8], 16)
            with replacing(copy) as temporary:
                Image.fromarray(pseudo_infrared(load_image(path), np.random.default_rng(seed))).save(
                    temporary, format="png"
                )
        for file, modality in ((path, "visible"), (copy, "infrared")):
            listed.append((file, f"{row['identity']}-{row['view']}", sighting, modality))
    path = out / "manifest.csv"
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "identity", "camera", "modality"), *listed])
    return path


def halves_of(identities: np.ndarray, split: int) -> list[np.ndarray]:
    """Two masks `(N,)`: the animals halved at random; both flanks of an animal go to one half."""
    animals = np.array([identity.partition("-")[0] for identity in identities])
    names = np.unique(animals)
    own = np.isin(animals, np.random.default_rng(split).permutation(names)[: len(names) // 2])
    return [own, ~own]


def write_half(found: Embeddings, rows: np.ndarray, path: Path) -> Path:
    """Features of some rows; the modality says who queries, and of one modality each queries all others."""
    identities, cameras = found.identities[rows].astype(np.str_), found.cameras[rows]
    features = Features(
        found.embeddings[rows], identities, np.maximum(cameras, 0), found.modalities[rows],
        positions_of(list(zip(identities.tolist(), cameras.tolist(), strict=True))), found.paths[rows],
        np.full(np.count_nonzero(rows), "both"),
    )  # fmt: skip
    save(features, path)
    return path


def measure(title: str, found: Sequence[Embeddings], out: Path, splits: int, shortlist: int) -> list[dict[str, Any]]:
    """A row a split, direction and way of ranking."""
    protocol = "cross-modal" if title == "cattle" else "cross-camera"
    visible = found[0].modalities == 0
    among = visible if title == "nyala" else np.ones(len(visible), dtype=bool)
    matcher, rows = Remembered(), []
    for split in range(splits):
        files = []
        for half, own in enumerate(halves_of(found[0].identities, split)):
            names = [out / f"{name}-{half}.npz" for name in NETWORKS]
            files.append([write_half(one, own & among, name) for one, name in zip(found, names, strict=True)])
        for direction in range(2):
            start = time.perf_counter()
            fused = fuse(
                files[direction], protocol, files[1 - direction], learn_weights=True, local=matcher,
                shortlist=shortlist, workers=2, say=lambda line: None,
            )  # fmt: skip
            for way, (score,) in fused.scores.items():
                figures = {key: score.value(key) for key in KEYS}
                about = {"data": title, "split": split, "direction": direction, "way": named(way)}
                rows.append(about | figures | {"queries": score.valid_queries, "chance": score.chance_rank1})
                print(rows[-1], flush=True)
            print(f"{time.perf_counter() - start:.0f} s, {fused.compared} pairs", flush=True)
    return rows


def named(way: str) -> str:
    """A way without the half that its files are of, and with what matched."""
    return way.replace("-0.npz", "").replace("-1.npz", "").replace("local", "SIFT")


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """By data and way, each figure of each split: the mean of both directions."""
    found: dict[str, dict[str, dict[int, list[Mapping[str, Any]]]]] = {}
    for row in rows:
        splits = found.setdefault(row["data"], {}).setdefault(row["way"], {})
        splits.setdefault(row["split"], []).append(row)

    def figures(splits: Mapping[int, list[Mapping[str, Any]]]) -> dict[str, list[float]]:
        return {key: [float(np.mean([row[key] for row in both])) for both in splits.values()] for key in KEYS}

    return {data: {way: figures(splits) for way, splits in ways.items()} for data, ways in found.items()}


def table(results: Mapping[str, Any]) -> str:
    """The table of docs/fusion.md: mean and standard deviation over splits, and the difference from the best network alone."""
    lines = [
        "| photographs | ranked by | rank-1 | mAP | mINP | rank-1 beside the better network |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for data, ways in summary(results["rows"]).items():
        best = max((ways[name]["rank-1"] for name in NETWORKS), key=np.mean)
        for way, figures in ways.items():
            gain = np.subtract(figures["rank-1"], best)
            cells = [spread(figures[key]) for key in KEYS]
            lines.append(f"| {TITLES[data]} | {way} | {' | '.join(cells)} | {spread(gain, sign='+')} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("weights", type=Path, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--data", choices=SIZES, default="cattle")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--shortlist", type=int, default=50)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="put the table of the results into docs/fusion.md")
    given = parser.parse_args(arguments)
    if given.write:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        shown = table(json.loads(RESULTS.read_text(encoding="utf-8")))
        write_text(PAGE, f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}")
        return
    if given.out is None:
        parser.error("expected IMAGES WEIGHTS OUT")
    out = given.out / given.data.partition("-")[0]
    out.mkdir(parents=True, exist_ok=True)
    manifest = manifest_of(given.data, given.images, out)
    found = []
    for name in NETWORKS:
        network = PretrainedNetwork(name, str(given.weights / f"{name}.safetensors"), *SIZES[given.data])
        if not (out / name / EMBEDDINGS).is_file():
            embed(network, manifest, out / name, precision="float32", workers=0)
        found.append(read_embeddings(out / name))
    rows = measure(given.data, found, out, given.splits, given.shortlist)
    if given.json is not None:
        kept = json.loads(given.json.read_text(encoding="utf-8"))["rows"] if given.json.is_file() else []
        rows = [row for row in kept if row["data"] != given.data] + rows
        rows.sort(key=lambda row: list(TITLES).index(row["data"]))
        write_json(
            given.json, {"machine": machine(), "splits": given.splits, "shortlist": given.shortlist, "rows": rows}
        )


if __name__ == "__main__":
    main(sys.argv[1:])
