"""`crossreid synth` and `crossreid check`: a rendered world in a data set's layout, a copy of a data set verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossreid.errors import CrossreidError
from crossreid.terminal import advancing, console, progress_bar


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must not hold anything yet.")],
    layout: Annotated[
        str,
        typer.Option(
            help="sysu-mm01, regdb, llcm, manifest; market-1501, msmt17; films: mars, duke-video, tracklets; veri-776, atrw."
        ),
    ] = "sysu-mm01",
    identities: Annotated[int, typer.Option(min=1, help="How many people, vehicles or animals.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    images: Annotated[int, typer.Option(min=1, help="Images of an identity and camera; of films, frames.")] = 10,
    size: Annotated[str, typer.Option(metavar="HxW", help="Height and width of the images, pixels.")] = "256x128",
    sheet: Annotated[Path | None, typer.Option(help="Also write a contact sheet, PNG.")] = None,
) -> None:
    """Render a synthetic world of people, filmed people, vehicles or animals, in the layout of a public data set."""
    from crossreid.data.synthetic import contact_sheet, synthesise

    height, cross, width = size.partition("x")
    if not cross or not height.isdecimal() or not width.isdecimal() or min(int(height), int(width)) < 16:
        raise CrossreidError(f"--size {size!r}: expected HEIGHTxWIDTH of 16 pixels or more, for example 256x128.")
    synthesise(out, layout, identities, seed, images_per_camera=images, size=(int(height), int(width)), progress=True)
    console.print(f"wrote {out}", soft_wrap=True)
    if sheet is not None:
        contact_sheet(out, sheet)
        console.print(f"contact sheet: {sheet}", soft_wrap=True)


def check(
    dataset: Annotated[
        str,
        typer.Argument(
            help="sysu-mm01, regdb, llcm, market-1501, msmt17, mars, duke-video, veri-776, atrw or manifest."
        ),
    ],
    root: Annotated[Path, typer.Argument(help="Folder of the copy.")],
    deep: Annotated[bool, typer.Option("--deep", help="Decode every image.")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="An option of the reader, docs/datasets.md."),
    ] = None,
    expect: Annotated[
        str | None, typer.Option(help="`official` counts, or `any`; by default told by the copy.")
    ] = None,
) -> None:
    """Verify a copy of a data set: counts, files, images, identities. Ends with status 1 on trouble."""
    from crossreid.data.checking import check as verify
    from crossreid.runs.overrides import reader_options

    with progress_bar() as progress:
        report = verify(
            dataset,
            root,
            deep=deep,
            expect=expect,
            progress=advancing(progress, "images"),
            options=reader_options(option or []),
        )
    console.print(report.table())
    for note in report.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False, highlight=False)
    for problem in report.problems:
        console.print(f"problem: {problem}", soft_wrap=True, markup=False, highlight=False)
    verdict = "no trouble found" if report.ok else f"{len(report.problems)} problems"
    console.print(f"{dataset} at {root}: {verdict}", soft_wrap=True)
    if not report.ok:
        raise typer.Exit(1)
