"""`crossreid fuse`: embeddings of several networks and local features, fused by calibrated scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossreid.cli.evaluate import JsonFile, PerIdentity, PerQuery, need_json, score_as_json
from crossreid.files import key_values
from crossreid.terminal import advancing, console, errors, progress_bar

if TYPE_CHECKING:
    from crossreid.fusion.fuse import Fused


def fuse(
    embeddings: Annotated[
        list[Path],
        typer.Argument(
            help="Embeddings of the same images, one per network: .npz, .npy with .csv, or a folder of embed."
        ),
    ],
    protocol: Annotated[str, typer.Option(help="Protocol to score by; see docs/evaluation.md.")],
    calibrate_on: Annotated[
        list[Path],
        typer.Option(help="Embeddings of images of other identities, one per EMBEDDINGS, in the same order."),
    ],
    gallery: Annotated[
        list[Path] | None, typer.Option(help="The gallery, if EMBEDDINGS hold only queries; one per EMBEDDINGS.")
    ] = None,
    calibration_gallery: Annotated[list[Path] | None, typer.Option(help="The same for --calibrate-on.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Only this setting of the protocol; repeatable.")] = None,
    learn_weights: Annotated[
        bool, typer.Option("--learn-weights", help="Also fuse with weights learned on the calibration pairs.")
    ] = False,
    local: Annotated[str | None, typer.Option(help="Also compare local features: sift, or lightglue (kornia).")] = None,
    local_option: Annotated[
        list[str] | None, typer.Option("--local-option", metavar="KEY=VALUE", help="Of --local.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="With --local: folder that the paths are relative to.")] = None,
    calibration_images: Annotated[Path | None, typer.Option(help="The same for --calibrate-on, if different.")] = None,
    shortlist: Annotated[int, typer.Option(min=1, help="With --local: candidates per query to compare with it.")] = 100,
    cache: Annotated[Path | None, typer.Option(help="With --local: folder to cache local features in.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="With --local: threads; one per core by default.")] = None,
    splits: Annotated[Path | None, typer.Option(help="SYSU-MM01: folder with rand_perm_cam.mat.")] = None,
    draw: Annotated[str | None, typer.Option(help="Gallery draw: official, seeded or random-choice.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Gallery draws to average over.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of a seeded draw and of the calibration pairs.")] = 0,
    json_file: JsonFile = None,
    per_query: PerQuery = False,
    per_identity: PerIdentity = False,
) -> None:
    """Fuse embeddings of the same images, and local features, by calibrated scores; each is also scored alone."""
    from crossreid.evaluation.scores import table
    from crossreid.files import write_json
    from crossreid.fusion.fuse import fuse as fuse_files

    need_json(json_file, per_query, per_identity)
    notes: list[str] = []

    def note(line: str) -> None:
        if line not in notes:
            notes.append(line)
            errors.print(line, soft_wrap=True)

    with progress_bar() as progress:
        found = fuse_files(
            embeddings, protocol, calibrate_on, galleries=gallery or (), calibration_galleries=calibration_gallery or (),
            settings=setting, learn_weights=learn_weights, local=local,
            local_options=key_values(local_option, "--local-option"), images=images,
            calibration_images=calibration_images, shortlist=shortlist, cache=cache, workers=workers, splits=splits,
            draw=draw, trials=trials, seed=seed, say=note,
            advance=advancing(progress, "pairs") if local is not None else lambda done, total: None,
        )  # fmt: skip
    rows = [(way, score) for way, scores in found.scores.items() for score in scores]
    console.print(table([score for _, score in rows], published=False, names=[way for way, _ in rows]))
    for way, fusion in found.fusions.items():
        for line in fusion.described():
            console.print(f"{way}: {line}", soft_wrap=True, highlight=False)
    if json_file is not None:
        write_json(json_file, _as_json(found, per_query, per_identity) | {"notes": notes})
    seconds = ", ".join(f"{name} {value:.2f}" for name, value in found.seconds.items())
    console.print(f"seconds: {seconds}", highlight=False)


def _as_json(found: Fused, per_query: bool, per_identity: bool) -> dict[str, Any]:
    return {
        "scores": {
            way: [score_as_json(one, per_query, per_identity) for one in each] for way, each in found.scores.items()
        },
        "fusions": {way: fusion.to_json() for way, fusion in found.fusions.items()},
        "compared": found.compared,
        "seconds": found.seconds,
    }
