"""`crossreid views`: how trained runs use several views, one command per analysis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossreid.cli.parsing import group
from crossreid.files import key_values
from crossreid.terminal import advancing, console, progress_bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

app = group("How trained runs use views: number of images, camera bias, distances, attention.")

Runs = Annotated[list[Path], typer.Argument(help="Runs, folders of seed-* runs, or folders of stages.")]
Out = Annotated[Path, typer.Option(help="Folder for the numbers and the figures.")]
Title = Annotated[
    list[str] | None, typer.Option("--title", metavar="NAME=TEXT", help="Name of a run or stage in the results.")
]
Images = Annotated[int, typer.Option(min=1, help="Maximum number of images per tracklet.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of random draws.")]


@app.command()
def images(
    runs: Runs, out: Out = Path("views"), title: Title = None,
    counts: Annotated[str, typer.Option(help="Numbers of images, comma-separated; all: a whole tracklet.")] = "1,2,4,8,all",
) -> None:  # fmt: skip
    """Accuracy by the number of images per gallery tracklet and per query."""
    from crossreid.analysis.views_of_runs import by_images
    from crossreid.evaluation.sets import image_counts
    from crossreid.reporting.views_plot import draw_images
    from crossreid.reporting.views_table import images_table

    numbers = image_counts(counts)
    with progress_bar() as progress:
        table = by_images(
            runs,
            out,
            counts=numbers,
            titles=key_values(title, "--title", "NAME=TEXT"),
            bars=lambda what: advancing(progress, what),
        )
    _show(out, "images", images_table(table), draw_images(table))


@app.command()
def cameras(
    runs: Runs, out: Out = Path("views"), title: Title = None, images: Images = 4,
    divisions: Annotated[int, typer.Option(min=1, help="Number of random splits of the identities.")] = 5,
    untrained: Annotated[bool, typer.Option("--untrained", help="Also analyse the first run's network before training.")] = False,
) -> None:  # fmt: skip
    """Camera bias: how well a linear probe predicts the camera from single images of unseen identities."""
    from crossreid.analysis.views_of_runs import by_camera
    from crossreid.reporting.views_plot import draw_cameras
    from crossreid.reporting.views_table import cameras_table

    with progress_bar() as progress:
        table = by_camera(
            runs, out, divisions=divisions, images=images, untrained=untrained, titles=key_values(title, "--title", "NAME=TEXT"),
            bars=lambda what: advancing(progress, what),
        )  # fmt: skip
    _show(out, "cameras", cameras_table(table), draw_cameras(table))


@app.command()
def distances(
    runs: Runs, out: Out = Path("views"), title: Title = None, images: Images = 4, seed: Seed = 0,
    limit: Annotated[int, typer.Option(min=4, help="Approximate number of images; beyond it, identities are sampled.")] = 4000,
    metric: Annotated[str, typer.Option(help="cosine or euclidean.")] = "cosine",
    across: Annotated[str, typer.Option(help="cameras or modalities.")] = "cameras",
    untrained: Annotated[bool, typer.Option("--untrained", help="Also analyse the first run's network before training.")] = False,
) -> None:  # fmt: skip
    """Distances of pairs of images: same identity and camera, same identity across cameras, different identities."""
    from crossreid.analysis.views_of_runs import by_pair
    from crossreid.reporting.views_plot import draw_distances
    from crossreid.reporting.views_table import distances_table

    with progress_bar() as progress:
        table = by_pair(
            runs, out, images=images, limit=limit, metric=metric, seed=seed, across=across, untrained=untrained,
            titles=key_values(title, "--title", "NAME=TEXT"), bars=lambda what: advancing(progress, what),
        )  # fmt: skip
    _show(out, "distances", distances_table(table), draw_distances(table))


@app.command()
def attention(
    runs: Runs, out: Out = Path("views"), title: Title = None, images: Images = 4, seed: Seed = 0,
    count: Annotated[int, typer.Option(min=1, help="Maximum number of images, each of a different identity.")] = 6,
    maps: Annotated[str, typer.Option(help="grad-cam, rollout (transformers only) or both.")] = "grad-cam",
) -> None:  # fmt: skip
    """Where an image's similarity to its identity comes from (Grad-CAM), or where a transformer looks (rollout), per run."""
    from crossreid.analysis.rollout import map_kinds
    from crossreid.analysis.views_of_runs import by_attention
    from crossreid.data.images import load_image
    from crossreid.reporting.views_plot import draw_attention
    from crossreid.reporting.views_table import attention_table

    with progress_bar() as progress:
        table = by_attention(
            runs, out, count=count, images=images, seed=seed, kinds=map_kinds(maps), titles=key_values(title, "--title", "NAME=TEXT"),
            bars=lambda what: advancing(progress, what),
        )  # fmt: skip
    for name in table["without_rollout"]:
        console.print(
            f"{name}: no rollout, because its blocks do not attend to the whole image; Grad-CAM", soft_wrap=True
        )
    pictures = {record.name: load_image(record) for record in table["records"]}
    _show(out, "attention", attention_table(table), draw_attention(table, pictures))


def _show(out: Path, name: str, table: RenderableType, figure: Figure) -> None:
    from crossreid.reporting.drawing import save

    console.print(table)
    console.print(f"numbers: {out / name}.json", soft_wrap=True, highlight=False)
    for path in save(figure, out, name):
        console.print(f"figure: {path}", soft_wrap=True)
