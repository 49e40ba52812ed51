"""`crossreid ablate`: studies of many runs, one command per study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossreid.cli.parsing import Set, group, numbers
from crossreid.terminal import console

if TYPE_CHECKING:
    from crossreid.studies.study import Study

app = group("Studies: many runs, one table. Running the same command again continues where it stopped.")

RecipeFile = Annotated[Path, typer.Argument(help="A recipe (file or name) whose method suits the study.")]
Out = Annotated[Path | None, typer.Option(help="Output folder of the study; studies/NAME by default.")]
Seeds = Annotated[str, typer.Option(help="Seeds; every cell is run once per seed: 0-2 or 0,1,2.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Runs in parallel; by default one per GPU, or one without GPUs.")]
Rival = Annotated[
    list[str] | None,
    typer.Option("--rival", metavar="METHOD.KEY=VALUE", help="A key of information_bottleneck or of VIB's method."),
]
Only = Annotated[list[str] | None, typer.Option(help="Run only this cell; repeatable.")]


@app.command()
def vd(
    recipe: RecipeFile, out: Out = None, seeds: Seeds = "0-2", jobs: Jobs = None, override: Set = None,
    rival: Rival = None, only: Only = None,
) -> None:  # fmt: skip
    """Branches x {bottleneck, VIB, VD}, and every subset of VSD, VCD and VML, beside the published figures."""
    from crossreid.studies.vd import rival_keys, vd_study

    _run(vd_study(rival_keys(rival or ())), recipe, out, seeds, jobs, override, only)


@app.command()
def z_size(
    recipe: RecipeFile, out: Out = None, seeds: Seeds = "0-2", jobs: Jobs = None, override: Set = None,
    sizes: Annotated[str, typer.Option(help="Widths of z, comma-separated.")] = "8,16,32,64,128,256,512,1024,2048",
) -> None:  # fmt: skip
    """The width of the representation z: from too narrow to wider than needed."""
    from crossreid.studies.vd import z_size_study

    _run(z_size_study(numbers(sizes)), recipe, out, seeds, jobs, override)


@app.command()
def weight(
    recipe: RecipeFile, out: Out = None, seeds: Seeds = "0-2", jobs: Jobs = None, override: Set = None,
    rival: Rival = None, only: Only = None,
) -> None:  # fmt: skip
    """The weight of each objective: how far their ranking depends on the choice of beta."""
    from crossreid.studies.vd import rival_keys, weight_study

    _run(weight_study(rival_keys(rival or ())), recipe, out, seeds, jobs, override, only)


@app.command()
def vkd(
    recipe: RecipeFile, out: Out = None, seeds: Seeds = "0-2", jobs: Jobs = None, override: Set = None, only: Only = None,
) -> None:  # fmt: skip
    """Views knowledge distillation: teacher, students, loss terms, no teacher, no camera labels, views versus time."""
    from crossreid.studies.vkd import vkd_study

    _run(vkd_study(), recipe, out, seeds, jobs, override, only)


@app.command()
def cross_distillation(
    recipe: RecipeFile, out: Out = None, seeds: Seeds = "0-2", jobs: Jobs = None, override: Set = None, only: Only = None,
    networks: Annotated[str, typer.Option(help="timm models, comma-separated: each teaches each.")] = "resnet18,resnet50",
) -> None:  # fmt: skip
    """Cross-distillation: a teacher of each architecture, and a student for every pair."""
    from crossreid.studies.vkd import cross_distillation_study

    _run(cross_distillation_study(networks.split(",")), recipe, out, seeds, jobs, override, only)


@app.command()
def idkl(
    recipe: RecipeFile, out: Out = None, seeds: Seeds = "0-2", jobs: Jobs = None, override: Set = None, only: Only = None,
) -> None:  # fmt: skip
    """Implicit knowledge: the base, then the purifier, TGSA, CSA and MDR added one by one; and without the confuser."""
    from crossreid.studies.idkl import idkl_study

    _run(idkl_study(), recipe, out, seeds, jobs, override, only)


@app.command(name="lambda")
def lambdas(
    recipe: RecipeFile, out: Out = None, seeds: Seeds = "0-2", jobs: Jobs = None, override: Set = None, only: Only = None,
) -> None:  # fmt: skip
    """Implicit knowledge: each of its three loss weights from small to large."""
    from crossreid.studies.idkl import lambda_study

    _run(lambda_study(), recipe, out, seeds, jobs, override, only)


@app.command()
def recipes(
    recipe: Annotated[list[Path], typer.Argument(help="Recipes (files or names) on one data set; the first is the reference.")],
    out: Out = None, seeds: Seeds = "0-2", jobs: Jobs = None, override: Set = None, only: Only = None,
) -> None:  # fmt: skip
    """Whole recipes side by side, with and without re-ranking."""
    from crossreid.runs.recipe import load_recipe
    from crossreid.studies.side_by_side import named, recipes_study

    loaded = {name: load_recipe(path, override or ()) for name, path in named(recipe).items()}
    _run(recipes_study(loaded), recipe[0], out, seeds, jobs, override, only)


@app.command()
def left_out(
    recipe: Annotated[Path, typer.Argument(help="A recipe (file or name) whose `data` lists several data sets.")],
    out: Out = None, seeds: Seeds = "0-2", jobs: Jobs = None, override: Set = None, only: Only = None,
) -> None:  # fmt: skip
    """Several data sets: leave each one out of training and test on it, beside training on that one alone."""
    from crossreid.runs.recipe import load_recipe
    from crossreid.studies.left_out import left_out_study

    _run(left_out_study(load_recipe(recipe, override or ())), recipe, out, seeds, jobs, override, only)


@app.command()
def estimators(
    out: Annotated[Path, typer.Option(help="Output folder of the study.")] = Path("studies/estimators"),
    seeds: Seeds = "0-2",
    jobs: Annotated[int, typer.Option(min=1, help="Critics trained in parallel.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Training batches per critic.")] = 2000,
) -> None:
    """Mutual-information estimators on correlated Gaussians, where the true value is known."""
    from crossreid.reporting.plotting import plot
    from crossreid.studies.estimators import run_estimators

    rows = run_estimators(out, seeds=numbers(seeds), jobs=jobs, steps=steps)
    console.print(f"{len(rows)} critics: {out / 'estimators.json'}", soft_wrap=True, highlight=False)
    for path in plot([out], out):
        console.print(f"figure: {path}", soft_wrap=True)


def _run(
    study: Study, recipe: Path, out: Path | None, seeds: str, jobs: int | None, override: list[str] | None,
    only: list[str] | None = None,
) -> None:  # fmt: skip
    from crossreid.reporting.plotting import plot
    from crossreid.reporting.study_table import terminal_table, write_markdown
    from crossreid.runs.recipe import load_recipe
    from crossreid.studies.running import run_study

    out = out or Path("studies") / study.name
    base = load_recipe(recipe, override or ())
    table = run_study(base, study, out, seeds=numbers(seeds), jobs=jobs, only=only or ())
    console.print(terminal_table(table))
    console.print(f"table: {write_markdown(table, out)}", soft_wrap=True)
    for path in plot([out], out):
        console.print(f"figure: {path}", soft_wrap=True)
