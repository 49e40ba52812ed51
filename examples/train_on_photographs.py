"""Train on your own photographs: a folder of folders, one for each identity, becomes a manifest, a run and its scores.

    python examples/train_on_photographs.py data/animals --out runs/animals
    python examples/train_on_photographs.py data/animals --out runs/animals --set training.epochs=20

The same command again goes on where a stopped run was, and evaluates a finished one.
"""

import argparse
from pathlib import Path

import crossreid
from crossreid.data.drafts import draft, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="a folder with a folder of images for each identity")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the run")
    parser.add_argument(
        "--recipe", default="baseline_manifest_visible", help="a file, or a name of `crossreid recipes list`"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another value of the recipe's key"
    )
    given = parser.parse_args()

    # What is known of each image: a manifest says it. It is drafted once; look at it, and mend it, before you go on.
    manifest = given.photographs / "manifest.csv"
    if not manifest.exists():
        made = draft(given.photographs)
        for line in (*made.notes, *made.guesses, *made.left_out):
            print(line)
        write(made, manifest)
        print(f"{len(made.rows)} images of {made.identities} identities: {manifest}")

    # A copy that is damaged is better found now than in the middle of training.
    verified = crossreid.check("manifest", given.photographs, deep=True)
    for line in (*verified.notes, *verified.problems):
        print(line)
    if verified.problems:
        raise SystemExit("mend what is wrong first")

    recipe = crossreid.load_recipe(given.recipe, [f"data.root={given.photographs}", *given.set])
    result = crossreid.train(recipe, given.out)
    print(f"{given.out}: {result.steps} steps")

    # Identities that training has not seen: each image of the test asks all others.
    for score in crossreid.evaluate(given.out):
        print(score)


if __name__ == "__main__":  # processes that load images import this file
    main()
