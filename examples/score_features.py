"""Score another tool's features by a published protocol, as they are and re-ranked.

    python examples/score_features.py features.npy images.csv --protocol market-1501

features.npy holds one embedding per row. images.csv describes the images, one row each in the same order, with columns
`identity`, `camera`, `role` (query or gallery) and, if there are two modalities, `modality` (visible or infrared).
"""

import argparse
import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import crossreid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, help="embeddings, (N, D), as numpy.save writes them")
    parser.add_argument("images", type=Path, help="a table with N rows")
    parser.add_argument("--protocol", default="market-1501", choices=sorted(crossreid.PROTOCOLS), metavar="NAME")
    parser.add_argument("--metric", default="cosine", choices=("cosine", "euclidean"))
    given = parser.parse_args()

    embeddings = np.load(given.features)
    with given.images.open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    if len(rows) != len(embeddings):
        raise SystemExit(f"{given.images} has {len(rows)} rows, but {given.features} has {len(embeddings)}")

    with TemporaryDirectory() as folder:
        sides = {}
        for role in ("query", "gallery"):
            at = [number for number, row in enumerate(rows) if row["role"] == role]
            arrays = {
                "embeddings": embeddings[at],
                "identities": np.array([rows[number]["identity"] for number in at]),
                "cameras": np.array([int(rows[number]["camera"]) for number in at]),
            }
            if "modality" in rows[0]:
                arrays["modalities"] = np.array([rows[number]["modality"] for number in at])
            sides[role] = Path(folder) / f"{role}.npz"
            np.savez(sides[role], **arrays)
        # A query without a match in the gallery is skipped, and counted beside the score.
        for rerank in (None, crossreid.KReciprocal()):
            scores, _ = crossreid.rank(
                sides["query"], sides["gallery"], given.protocol, metric=given.metric, rerank=rerank
            )
            for score in scores:
                print(score)


if __name__ == "__main__":
    main()
