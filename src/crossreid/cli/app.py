"""The commands. Each is a few lines over public functions; bad input ends in one line a fault, never in a traceback."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossreid.cli.ablate import app as ablate
from crossreid.cli.embed import embed, export
from crossreid.cli.gallery import app as gallery
from crossreid.cli.serve import app as keys
from crossreid.cli.serve import serve
from crossreid.cli.views import app as views
from crossreid.errors import CrossreidError
from crossreid.terminal import advancing, console, errors, progress_bar
from crossreid.training.signals import Interrupted

if TYPE_CHECKING:
    from crossreid.training.loop import FitResult

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Re-identification across modalities and views: train, evaluate by published protocols, report.",
)
app.add_typer(ablate, name="ablate")
app.add_typer(views, name="views")
app.command()(embed)
app.command()(export)
app.add_typer(gallery, name="gallery")
app.command()(serve)
app.add_typer(keys, name="keys")

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the world, the runs and the report.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world and of the training.")] = 0,
) -> None:
    """Render a small world, train two methods on it, evaluate both, write report.html: about 5 minutes on 2 cores."""
    from crossreid.demo.demonstration import run_demo
    from crossreid.evaluation.scores import table

    result = run_demo(out, seed=seed, say=console.print)
    shown = [row for row in result.scores if row[1].setting.endswith("single-shot")]
    console.print(table([score for _, score in shown], published=False, names=[name for name, _ in shown]))
    console.print(result.conclusion)
    console.print(f"report: {result.report}", soft_wrap=True)
    program = "crossreid" if shutil.which("crossreid") else sys.argv[0]
    console.print(f"search its gallery: {shlex.join((program, *result.serve))}", soft_wrap=True, highlight=False)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must not hold anything yet.")],
    layout: Annotated[
        str,
        typer.Option(help="sysu-mm01, regdb, llcm, manifest; films: mars, duke-video, tracklets; veri-776, atrw."),
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


@app.command()
def check(
    dataset: Annotated[
        str, typer.Argument(help="sysu-mm01, regdb, llcm, mars, duke-video, veri-776, atrw or manifest.")
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
    from crossreid.runs.recipe import reader_options

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


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/RECIPE by default.")] = None,
    override: Set = None,
    trials: Annotated[
        str | None, typer.Option(help="RegDB: train these trials, 1-10 or 1,3,5, one model each.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Of a recipe with a teacher: train the teacher or the student alone.")
    ] = None,
) -> None:
    """Train by a recipe. The same command again goes on where a killed run stopped."""
    from crossreid.runs.recipe import load_recipe
    from crossreid.runs.run import numbers
    from crossreid.runs.teacher_student import train_stages

    out = out or Path("runs") / recipe.stem
    jobs: list[tuple[list[str], Path]] = [([], out)]
    if trials is not None:
        jobs = [([f"data.options.trial={trial}"], out / f"trial-{trial}") for trial in numbers(trials)]

    def told(folder: Path, result: FitResult) -> None:
        if os.environ.get("RANK", "0") != "0":
            return  # of several processes the first one tells
        best = "" if result.best is None else f", best validation {result.best:.4f}"
        ended = "was finished already" if result.steps == result.steps_before else "finished"
        console.print(f"{folder} {ended}: {result.steps} steps{best}", soft_wrap=True, highlight=False)

    for own, folder in jobs:
        train_stages(load_recipe(recipe, [*(override or ()), *own]), folder, stage=stage, done=told)


@app.command()
def evaluate(
    runs: Annotated[list[Path] | None, typer.Argument(help="A run, or one run for each of RegDB's trials.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="Features of another tool: NAME_cam1.mat ... NAME_cam6.mat.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="Protocol of those features.")] = "sysu-mm01",
    splits: Annotated[Path | None, typer.Option(help="Folder with test_id and rand_perm_cam.mat.")] = None,
    mode: Annotated[str, typer.Option(help="With --features: all or indoor.")] = "all",
    shots: Annotated[int, typer.Option(help="With --features: 1 or 10 gallery images an identity and camera.")] = 1,
    metric: Annotated[str | None, typer.Option(help="euclidean or cosine.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    rerank: Annotated[str | None, typer.Option(help="Also re-ranked: k-reciprocal or query-expansion.")] = None,
    query_images: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Queries of so many images of a tracklet, or `all`, against videos."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file too.")] = None,
) -> None:
    """Evaluate a run, or features from elsewhere, by the data set's protocol."""
    from crossreid.evaluation.external import evaluate_features
    from crossreid.evaluation.scores import table
    from crossreid.evaluation.sets import SetSetting, image_counts
    from crossreid.files import write_json
    from crossreid.runs.run import evaluate as evaluate_runs
    from crossreid.runs.run import on_synthetic_data
    from crossreid.runs.teacher_student import stage_runs

    if (features is None) == (not runs):
        raise CrossreidError("expected either a RUN or --features DIR. See `crossreid evaluate --help`.")
    from crossreid.evaluation.reranking import make_reranking

    if features is not None and rerank is not None:
        raise CrossreidError("--rerank is for runs; for features of another tool use `crossreid rank --rerank`.")
    if features is not None:
        score = evaluate_features(features, protocol, splits, mode=mode, shots=shots, metric=metric or "euclidean")
        console.print(table([score]))
        if json_file is not None:
            write_json(json_file, score.to_json())
        return
    # A folder of stages stands for its runs, each scored by itself.
    staged = [run for folder in runs or () for run in stage_runs(folder)]
    scores, names = [], []
    for together in [[run] for run in staged] or [list(runs or ())]:
        with progress_bar() as progress:
            found = evaluate_runs(
                together,
                metric=metric,
                checkpoint=checkpoint,
                rerank=make_reranking(rerank) if rerank else None,
                settings=[SetSetting(count, None) for count in image_counts(query_images)] if query_images else None,
                advance=advancing(progress, "images"),
            )
        scores += found
        names += [f"{score.protocol}, {together[0].name}" for score in found]
    first = (staged or runs or [Path()])[0]
    console.print(table(scores, published=not on_synthetic_data(first), names=names if staged else None))
    if json_file is not None:
        write_json(json_file, [score.to_json() for score in scores])
    if not query_images:
        for folder in staged or [first]:
            console.print(f"scores: {folder / 'scores.json'}", soft_wrap=True)


@app.command()
def rank(
    queries: Annotated[Path, typer.Option(help="Query embeddings: .npz, .npy with a .csv beside it, or .safetensors.")],
    gallery: Annotated[Path, typer.Option(help="Gallery embeddings, likewise.")],
    protocol: Annotated[str, typer.Option(help="Protocol to score by, docs/evaluation.md.")],
    setting: Annotated[list[str] | None, typer.Option(help="Only this setting of the protocol.")] = None,
    metric: Annotated[str, typer.Option(help="euclidean or cosine.")] = "euclidean",
    splits: Annotated[Path | None, typer.Option(help="SYSU-MM01: folder with rand_perm_cam.mat.")] = None,
    draw: Annotated[str | None, typer.Option(help="Gallery draw: official, seeded or random-choice.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Gallery draws to average over.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of a seeded draw.")] = 0,
    rerank: Annotated[str | None, typer.Option(help="Re-rank first: k-reciprocal or query-expansion.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of re-ranking.")] = None,
    normalise: Annotated[str | None, typer.Option(help="Standardise distances by camera or modality.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option(help="float64, or float32 for half the memory.")] = "float64",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file too.")] = None,
) -> None:
    """Rank a gallery by embeddings of any tool, and score it by a protocol."""
    from crossreid.evaluation.external import rank as rank_files
    from crossreid.evaluation.scores import table
    from crossreid.files import key_value, write_json

    scores, seconds = rank_files(
        queries, gallery, protocol, settings=setting, metric=metric, splits=splits, draw=draw, trials=trials, seed=seed,
        rerank=rerank, options=dict(key_value(text, "--option") for text in option or ()), normalise=normalise,
        device=device, precision=precision,
    )  # fmt: skip
    console.print(table(scores, published=False))
    if json_file is not None:
        every = [score.to_json() for score in scores]
        write_json(json_file, {**every[0], "seconds": seconds, **({"settings": every} if len(every) > 1 else {})})
    console.print(f"seconds: loading {seconds['loading']:.2f}, ranking {seconds['ranking']:.2f}", highlight=False)


@app.command()
def probe(
    runs: Annotated[list[Path], typer.Argument(help="Runs, or folders of seed-* runs.")],
    out: Annotated[Path, typer.Option(help="Folder for probes.json and its figure.")] = Path("probes"),
    world: Annotated[
        Path | None, typer.Option(help="A rendered world with other people; the runs' own by default.")
    ] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Also the first networks before training.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Networks probed at a time.")] = 1,
) -> None:
    """Read identity, clothes, colours, camera, pose and modality off each branch's v and z, on people never seen."""
    from crossreid.analysis.factors_of_runs import probe_runs
    from crossreid.reporting.plotting import plot as draw
    from crossreid.reporting.probe_table import summary_table

    table = probe_runs(runs, out, world=world, untrained=untrained, jobs=jobs, say=console.print)
    console.print(summary_table(table))
    console.print(f"readings: {out / 'probes.json'}", soft_wrap=True)
    for path in draw([out / "probes.json"], out):
        console.print(f"figure: {path}", soft_wrap=True)


@app.command()
def plot(
    what: Annotated[
        list[Path], typer.Argument(help="Runs, features (.npz), folders of studies, probes.json or estimators.json.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
    title: Annotated[
        list[str] | None, typer.Option("--title", metavar="NAME=TEXT", help="What a folder or file is called.")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Of features: the protocol of their CMC.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the maps: whom they show, and where.")] = 0,
) -> None:
    """Draw runs, features, studies and probes: every figure as SVG and PNG."""
    from crossreid.files import key_value
    from crossreid.reporting.plotting import plot as draw

    titles = dict(key_value(text, "--title", "NAME=TEXT") for text in title or ())
    for path in draw(what, out, protocol=protocol, titles=titles, seed=seed, say=console.print):
        console.print(f"figure: {path}", soft_wrap=True)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="One run or several of the same data set.")],
    out: Annotated[Path | None, typer.Option(help="The page; RUN/report.html by default.")] = None,
) -> None:
    """Write a self-contained report.html: scores, curves, ranked lists, t-SNE, losses, the recipe."""
    from crossreid.reporting.report import report as write_report
    from crossreid.runs.teacher_student import stage_runs

    staged = [run for folder in runs for run in stage_runs(folder) or [folder]]
    page = write_report(staged, out or runs[0] / "report.html", say=console.print)
    console.print(f"report: {page}", soft_wrap=True)


@app.command()
def recipe(
    file: Annotated[Path | None, typer.Argument(help="A recipe to resolve and print.")] = None,
    override: Set = None,
    keys: Annotated[bool, typer.Option("--keys", help="List every key of a recipe instead, as Markdown.")] = False,
) -> None:
    """Print a recipe with every default written out, or list all keys."""
    from crossreid.runs.recipe import keys_as_markdown, load_recipe

    if keys == (file is not None):
        raise CrossreidError("expected either a recipe FILE or --keys.")
    sys.stdout.write(keys_as_markdown() if file is None else load_recipe(file, override or ()).as_yaml())


def main(arguments: list[str] | None = None) -> None:
    """The `crossreid` command: what a person got wrong ends in lines on standard error and status 2."""
    try:
        status = app(arguments, standalone_mode=False)  # 130 where Ctrl-C ended a command that is not training
    except Interrupted as interrupt:
        errors.print("interrupted; the same command again goes on from the checkpoint.")
        sys.exit(128 + interrupt.signal_number)
    except Exception as error:
        if os.environ.get("CROSSREID_DEBUG") or not _is_for_people(error):
            raise
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        errors.print(f"crossreid: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def _is_for_people(error: Exception) -> bool:
    """Whether an error's message tells a person what to do: ours, the file system's and the command line's do."""
    return isinstance(error, ValueError | OSError) or hasattr(error, "format_message")  # the latter: of an option


if __name__ == "__main__":
    main()
