"""Embed a folder of images once, store it in a gallery, and search that with a photograph.

    python examples/search_folder.py runs/animals data/crops photo.jpg --gallery galleries/crops

The gallery is kept: the next search embeds only the photograph. Delete its folder to embed the images again.
"""

import argparse
from pathlib import Path

import torch

import crossreid
from crossreid.data.images import load_image
from crossreid.galleries.importing import entries_of_embeddings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a trained run, or a file written by `crossreid export`")
    parser.add_argument("folder", type=Path, help="the images to search")
    parser.add_argument("photograph", type=Path, help="the query image")
    parser.add_argument("--gallery", type=Path, default=Path("galleries/folder"), help="where embeddings are stored")
    parser.add_argument("--k", type=int, default=5, help="how many matches to show")
    given = parser.parse_args()

    if not given.gallery.exists():
        # A killed job can be resumed. Images that cannot be read are listed and skipped.
        done = crossreid.embed(given.run, given.folder, given.gallery.with_suffix(".embeddings"), on_bad_image="skip")
        found = crossreid.read_embeddings(done.folder)
        with crossreid.open_gallery(
            given.gallery, model=found.fingerprint, dimension=found.embeddings.shape[1], create=True
        ) as gallery:
            gallery.add(entries_of_embeddings(found))

    model = crossreid.open_model(given.run)
    image = torch.as_tensor(model.transform(load_image(given.photograph)))
    visible = torch.tensor([int(crossreid.Modality.VISIBLE)])
    query = model.embed(image[None], visible).numpy()
    # A model with another fingerprint is refused: its embeddings are not comparable.
    with crossreid.open_gallery(given.gallery, model=model.fingerprint, read_only=True) as gallery:
        (matches,) = gallery.search(query, given.k)
    for score, entry in zip(matches.scores, matches.entries, strict=True):
        print(f"{score:.3f}  {entry.source}")


if __name__ == "__main__":  # loader workers import this file
    main()
