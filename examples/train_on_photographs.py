"""Train on your own photographs: from a folder with one subfolder per identity to a manifest, a run and its scores.

    python examples/train_on_photographs.py data/animals --out runs/animals
    python examples/train_on_photographs.py data/animals --out runs/animals --set training.epochs=20

Running the same command again resumes a stopped run, and evaluates a finished one.
"""

import argparse
from pathlib import Path

import crossreid
from crossreid.data.drafts import draft, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="a folder with one folder of images per identity")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the run")
    parser.add_argument(
        "--recipe", default="baseline_manifest_visible", help="a file, or a name from `crossreid recipes list`"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the recipe")
    given = parser.parse_args()

    # A manifest says what is known about each image. It is drafted once; check it, and correct it, before you go on.
    manifest = given.photographs / "manifest.csv"
    if not manifest.exists():
        made = draft(given.photographs)
        for line in (*made.notes, *made.guesses, *made.left_out):
            print(line)
        write(made, manifest)
        print(f"{len(made.rows)} images of {made.identities} identities: {manifest}")

    # It is better to find damaged files now than in the middle of training.
    verified = crossreid.check("manifest", given.photographs, deep=True)
    for line in (*verified.notes, *verified.problems):
        print(line)
    if verified.problems:
        raise SystemExit("correct these problems first")

    recipe = crossreid.load_recipe(given.recipe, [f"data.root={given.photographs}", *given.set])
    result = crossreid.train(recipe, given.out)
    print(f"{given.out}: {result.steps} steps")

    # The test identities are held out: each test image is a query against all others.
    for score in crossreid.evaluate(given.out):
        print(score)


if __name__ == "__main__":  # loader workers import this file
    main()
