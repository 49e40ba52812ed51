"""Photographs of cows as `benchmarks/cattle.py` takes them, but of noise: six cows to train, two to test."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

TRAIN, TEST = [f"cow{i}" for i in range(6)], ["cow8", "cow9"]


def draw_cows(folder: Path) -> Path:
    """Each cow twice by day and twice by night; one of those to train was never seen by night."""
    rng = np.random.default_rng(0)
    rows = [("path", "identity", "modality", "split")]
    for cow in [*TRAIN, *TEST]:
        (folder / cow).mkdir(parents=True)
        for modality in ("visible", "infrared") if cow != TRAIN[1] else ("visible",):
            role = "train" if cow in TRAIN else "gallery" if modality == "visible" else "query"
            for i in range(2):
                path = f"{cow}/{modality}{i}.jpg"
                Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(folder / path)
                rows.append((path, cow, modality, role))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return folder
