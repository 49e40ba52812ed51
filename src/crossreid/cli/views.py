"""`crossreid views`: what trained runs make of several views, each analysis with one command."""

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

app = group("What trained runs make of views: number of images, camera bias, distances, attention.")

Runs = Annotated[list[Path], typer.Argument(help="Runs, folders of seed-* runs, or folders of stages.")]
Out = Annotated[Path, typer.Option(help="Folder for the numbers and the figures.")]
Title = Annotated[list[str] | None, typer.Option("--title", metavar="NAME=TEXT", help="What a run or stage is called.")]
Images = Annotated[int, typer.Option(min=1, help="Images of each tracklet, at most.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of what is drawn.")]


@app.command()
def images(
    runs: Runs, out: Out = Path("views"), title: Title = None,
    counts: Annotated[str, typer.Option(help="Numbers of images, with commas; all: a whole tracklet.")] = "1,2,4,8,all",
) -> None:  # fmt: skip
    """Accuracy by the number of images of each gallery tracklet, and of each query."""
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
    divisions: Annotated[int, typer.Option(min=1, help="Times that the identities are divided.")] = 5,
    untrained: Annotated[bool, typer.Option("--untrained", help="Also the first network before training.")] = False,
) -> None:  # fmt: skip
    """Camera bias: how well a linear probe reads the camera off single images of identities that it never saw."""
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
    limit: Annotated[int, typer.Option(min=4, help="Images, about; of more, some identities are drawn.")] = 4000,
    metric: Annotated[str, typer.Option(help="cosine or euclidean.")] = "cosine",
    across: Annotated[str, typer.Option(help="cameras or modalities.")] = "cameras",
    untrained: Annotated[bool, typer.Option("--untrained", help="Also the first network before training.")] = False,
) -> None:  # fmt: skip
    """Distances of pairs of images: one identity by one camera, one identity across cameras, two identities."""
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
    count: Annotated[int, typer.Option(min=1, help="Images to show at most, each of another identity.")] = 6,
    maps: Annotated[str, typer.Option(help="grad-cam, rollout (of transformers) or both.")] = "grad-cam",
) -> None:  # fmt: skip
    """Where in an image its similarity to its identity comes from (Grad-CAM), or a transformer looks (rollout), a column a run."""
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
        console.print(f"{name}: no rollout, as its blocks do not attend to the whole image; Grad-CAM", soft_wrap=True)
    pictures = {record.name: load_image(record) for record in table["records"]}
    _show(out, "attention", attention_table(table), draw_attention(table, pictures))


def _show(out: Path, name: str, table: RenderableType, figure: Figure) -> None:
    from crossreid.reporting.drawing import save

    console.print(table)
    console.print(f"numbers: {out / name}.json", soft_wrap=True, highlight=False)
    for path in save(figure, out, name):
        console.print(f"figure: {path}", soft_wrap=True)
