"""`crossreid synth`, `crossreid manifest` and `crossreid check`: render a world, list your own images, verify a copy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossreid.cli.parsing import Set
from crossreid.errors import CrossreidError
from crossreid.terminal import advancing, console, progress_bar, say

if TYPE_CHECKING:
    from crossreid.data.checking import CheckReport
    from crossreid.runs.suitability import Copy


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must be empty or missing.")],
    layout: Annotated[
        str,
        typer.Option(
            help="sysu-mm01, regdb, llcm, manifest; market-1501, msmt17; video: mars, duke-video, tracklets; veri-776, atrw; "
            "city: video files of six cameras (docs/city.md)."
        ),
    ] = "sysu-mm01",
    identities: Annotated[
        int | None, typer.Option(min=1, help="How many people, vehicles or animals; 60 by default, 24 for a city.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    images: Annotated[int, typer.Option(min=1, help="Images (video: frames) per identity and camera.")] = 10,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW", help="Height and width in pixels: 256x128 by default, 180x320 for a city's frames."
        ),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also write a contact sheet (PNG); not for a city.")] = None,
    minutes: Annotated[float | None, typer.Option(help="City only: length of the videos; 3 by default.")] = None,
    frame_rate: Annotated[float | None, typer.Option(help="City only: frames per second; 12.5 by default.")] = None,
    others: Annotated[
        int | None, typer.Option(help="City only: people to train on, who are not in the videos; 60 by default.")
    ] = None,
) -> None:
    """Render a synthetic world of people, vehicles or animals in the layout of a public data set, or the videos of a city."""
    from crossreid.data.synthetic import contact_sheet, synthesise, synthesise_city

    of_city = {"minutes": minutes, "rate": frame_rate, "others": others}
    pixels = _frame_size(size or ("180x320" if layout == "city" else "256x128"))
    if layout == "city":
        if sheet is not None:
            raise CrossreidError("--sheet works for layouts of images; a city's videos can be played as they are.")
        given = {name: value for name, value in of_city.items() if value is not None}
        synthesise_city(out, identities or 24, seed, images=images, size=pixels, progress=True, **given)  # type: ignore[arg-type]
    elif any(value is not None for value in of_city.values()):
        raise CrossreidError(f"--minutes, --frame-rate and --others apply to --layout city, not to {layout}.")
    else:
        synthesise(out, layout, identities or 60, seed, images_per_camera=images, size=pixels, progress=True)
    console.print(f"wrote {out}", soft_wrap=True)
    if sheet is not None:
        contact_sheet(out, sheet)
        console.print(f"contact sheet: {sheet}", soft_wrap=True)


def _frame_size(size: str) -> tuple[int, int]:
    height, cross, width = size.partition("x")
    if not cross or not height.isdecimal() or not width.isdecimal() or min(int(height), int(width)) < 16:
        raise CrossreidError(f"--size {size!r}: expected HEIGHTxWIDTH of 16 pixels or more, for example 256x128.")
    return int(height), int(width)


def manifest(
    folder: Annotated[Path, typer.Argument(help="Folder of images; with --from csv also of the table.")],
    source_kind: Annotated[
        str,
        typer.Option(
            "--from", help="Where identities come from: folders, names, market-1501, msmt17, coco, yolo or csv."
        ),
    ] = "folders",
    out: Annotated[Path | None, typer.Option(help="Manifest to write; FOLDER/manifest.csv by default.")] = None,
    source: Annotated[Path | None, typer.Option(help="COCO or CSV file; by default the only one in FOLDER.")] = None,
    identity_key: Annotated[str | None, typer.Option(help="Key of COCO annotations that holds the identity.")] = None,
    modality: Annotated[
        str, typer.Option(help="auto (from folder names, else colour), or one for all: visible or infrared.")
    ] = "auto",
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite an existing manifest.")] = False,
) -> None:
    """Draft a manifest of images: show what was found and guessed, ask, then write it. Without a terminal, --yes is required."""
    from crossreid.data.drafts import draft, write
    from crossreid.data.summary import summary_table

    target = out or (folder.parent if folder.is_file() else folder) / "manifest.csv"
    if target.exists() and not replace:
        raise CrossreidError(f"{target} exists already. Remove it, choose another --out, or give --replace.")
    with progress_bar() as progress:
        made = draft(
            folder, source_kind, source=source, identity_key=identity_key, modality=modality,
            progress=advancing(progress, "images"),
        )  # fmt: skip
    say(f"found {len(made.rows):,} images of {made.identities:,} identities")
    for line in (*made.notes, *made.guesses, *made.left_out):
        say(line)
    if made.split is not None:
        console.print(summary_table(made.split, made.sizes))
        for line in (*made.split.notes, *made.leaks):
            say(f"note: {line}")
    if made.problem:
        say(f"problem: this manifest cannot be trained on as it is. {made.problem}")
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"write {target}?")):
        say(f"nothing written; --yes writes {target}")
        return
    write(made, target, replace=replace)
    root = target.parent if target.name == "manifest.csv" else target
    say(f"wrote {target}; next: crossreid check manifest {root} --deep")


def check(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="sysu-mm01, regdb, llcm, market-1501, msmt17, mars, duke-video, veri-776, atrw or manifest; with --recipe alone, "
            "the recipe's."
        ),
    ] = None,
    root: Annotated[Path | None, typer.Argument(help="Folder of the copy.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every image.")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="An option of the reader, docs/datasets.md."),
    ] = None,
    expect: Annotated[
        str | None, typer.Option(help="`official` counts, or `any`; by default judged from the copy.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Also check whether this recipe (file or name) can train on it; its reader options are used too."
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Also write a contact sheet (PNG or JPEG) of some identities of each part, as training reads them."
        ),
    ] = None,
    overrides: Set = None,
) -> None:
    """Verify a copy of a data set: counts, files, images, identities. Exits with status 1 if problems are found."""
    from crossreid.data.picture_rows import refuse_other_names
    from crossreid.data.split_sheet import write_split_sheet
    from crossreid.data.summary import summary_table
    from crossreid.runs.overrides import reader_options
    from crossreid.runs.suitability import copies_of, left_out, trainable, trainable_in_all

    if recipe is None and overrides:
        raise CrossreidError(
            "--set applies to a recipe: give --recipe too, or use --option for an option of the reader."
        )
    if (dataset is None) != (root is None) or (dataset is None and recipe is None):
        raise CrossreidError("expected DATASET and ROOT, or --recipe FILE alone to check every data set that it names.")
    chosen = None
    if recipe is not None:
        from crossreid.runs.recipe import (
            load_recipe,  # imported here: it loads torch, which checking a copy does not need
        )

        chosen = load_recipe(recipe, overrides or [])
    copies = copies_of(chosen, dataset, root)
    if sheet is not None:
        refuse_other_names(sheet)
        if len(copies) > 1:
            raise CrossreidError("--sheet shows one data set: give its DATASET and ROOT.")
    trouble = False
    for copy in copies:
        report = _verified(copy, deep=deep, expect=expect, options={**copy.options, **reader_options(option or [])})
        console.print(report.table())
        notes, problems = list(report.notes), list(report.problems)
        if report.split is not None:
            console.print(summary_table(report.split, report.sizes))
            notes += left_out(report.split)
            if chosen is not None and len(copies) == 1:
                suits, words = trainable(report.split, chosen) if not chosen.data.sources else trainable_in_all(chosen)
                if suits:
                    notes.append(f"{recipe} can train on it: {words}")
                else:
                    problems.append(f"{recipe} cannot train on it: {words}")
            if sheet is not None:
                say(f"contact sheet: {write_split_sheet(report.split, sheet)}")
        _say_verdict(f"{copy.name} at {copy.root}", notes, problems)
        trouble = trouble or bool(problems)
    if len(copies) > 1 and chosen is not None:
        suits, words = trainable_in_all(chosen)
        say(f"{recipe} {'can' if suits else 'cannot'} train on all of them: {words}")
        trouble = trouble or not suits
    if trouble:
        raise typer.Exit(1)


def _verified(copy: Copy, *, deep: bool, expect: str | None, options: dict[str, Any]) -> CheckReport:
    from crossreid.data.checking import check as verify

    with progress_bar() as progress:
        return verify(
            copy.name,
            copy.root,
            deep=deep,
            expect=expect,
            progress=advancing(progress, "images"),
            options=options,
            levels=copy.levels,
        )


def _say_verdict(what: str, notes: Sequence[str], problems: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False, highlight=False)
    for problem in problems:
        console.print(f"problem: {problem}", soft_wrap=True, markup=False, highlight=False)
    verdict = "no problems found" if not problems else f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    console.print(f"{what}: {verdict}", soft_wrap=True)
