"""`crossreid evaluate` and `crossreid rank`: score runs, or embeddings of any tool, by a protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossreid.cli.networks import BackboneName, Flip, Size, Weights, named_network
from crossreid.errors import CrossreidError
from crossreid.files import key_values
from crossreid.terminal import advancing, console, errors, progress_bar

if TYPE_CHECKING:
    from crossreid.evaluation.scores import Score
    from crossreid.runs.named_network import PretrainedNetwork

JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the scores to this file.")]
PerQuery = Annotated[bool, typer.Option("--per-query", help="With --json: also the scores per query.")]
PerIdentity = Annotated[
    bool, typer.Option("--per-identity", help="With --json: also the scores per identity, worst first.")
]


def evaluate(
    runs: Annotated[list[Path] | None, typer.Argument(help="A run, or one run per RegDB trial.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="Features of another tool: NAME_cam1.mat ... NAME_cam6.mat.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="Protocol of those features.")] = "sysu-mm01",
    splits: Annotated[Path | None, typer.Option(help="Folder with test_id and rand_perm_cam.mat.")] = None,
    mode: Annotated[str, typer.Option(help="With --features: all or indoor.")] = "all",
    shots: Annotated[int, typer.Option(help="With --features: 1 or 10 gallery images per identity and camera.")] = 1,
    metric: Annotated[str | None, typer.Option(help="euclidean or cosine.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    rerank: Annotated[str | None, typer.Option(help="Also re-rank: k-reciprocal or query-expansion.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Of re-ranking.")] = None,
    query_images: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Use N images of a tracklet, or `all`, as a query against videos."),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Test the run on another data set; with --root.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of that data set, or of another copy of the run's.")] = None,
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of data or evaluation for this test."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="For runs on several data sets: test on this one only.")
    ] = None,
    json_file: JsonFile = None,
    per_query: PerQuery = False,
    per_identity: PerIdentity = False,
    backbone: BackboneName = None,
    weights: Weights = None,
    size: Size = None,
    flip: Flip = False,
    out: Annotated[
        Path | None,
        typer.Option(help="With --backbone: folder for scores and features; pretrained/NAME/DATA by default."),
    ] = None,
) -> None:
    """Evaluate a run, a network that was not trained here, or another tool's features, by the data set's protocol.

    Several runs are shown side by side.
    """
    from crossreid.evaluation.external import evaluate_features
    from crossreid.evaluation.reranking_options import make_reranking
    from crossreid.evaluation.scores import table
    from crossreid.files import write_json
    from crossreid.runs.evaluate import evaluate_each
    from crossreid.runs.folders import titles_of
    from crossreid.runs.source_runs import mean_over_sources

    network = named_network(backbone, weights, size, flip)
    if network is None and out is not None:
        raise CrossreidError("--out applies to --backbone; a run's scores go into its own folder.")
    if network is not None:
        _refuse_beside(network, runs, features, checkpoint, data, root)
    elif (features is None) == (not runs):
        raise CrossreidError(
            "expected either a RUN or --features DIR, or --backbone NAME. See `crossreid evaluate --help`."
        )
    if features is not None and rerank is not None:
        raise CrossreidError("--rerank is for runs; for another tool's features use `crossreid rank --rerank`.")
    if features is not None and (data is not None or root is not None or override or source is not None):
        raise CrossreidError("--data, --root, --source and --set are for runs; features know what they were made from.")
    if option and rerank is None:
        raise CrossreidError("--option applies to re-ranking; name one with --rerank.")
    need_json(json_file, per_query, per_identity)
    if features is not None:
        score = evaluate_features(features, protocol, splits, mode=mode, shots=shots, metric=metric or "euclidean")
        console.print(table([score]))
        if json_file is not None:
            write_json(json_file, score_as_json(score, per_query, per_identity))
        return
    chosen = make_reranking(rerank, key_values(option, "--option")) if rerank else None
    with progress_bar() as progress:
        each = _of_network(
            network, data, root, out, metric=metric, rerank=chosen, query_images=query_images, overrides=override or (),
            advance=advancing(progress, "images"),
        ) if network is not None else evaluate_each(
            runs or (), metric=metric, checkpoint=checkpoint, rerank=chosen, query_images=query_images, data=data, root=root,
            overrides=override or (), source=source, advance=advancing(progress, "images"),
        )  # fmt: skip
    scores = [score for found in each.values() for score in found]
    titles = titles_of(list(each))
    names = [f"{score.protocol}, {titles[run]}" for run, found in each.items() for score in found]
    console.print(table(scores, names=names if len(each) > 1 else None))
    if json_file is not None:
        write_json(json_file, [score_as_json(score, per_query, per_identity) for score in scores])
    if query_images:
        return
    for run, numbers in mean_over_sources(each).items():
        figures = ", ".join(f"{key} {100 * value:.2f}" for key, value in numbers.items())
        console.print(f"{run.name}, mean over its data sets: {figures}", soft_wrap=True, highlight=False)
    for file in dict.fromkeys(score.file for score in scores if score.file):
        console.print(f"scores: {file}", soft_wrap=True)
    alike = len({score.protocol for score in scores}) == 1 and data is None and root is None and not override
    if runs and len(each) > 1 and len(runs) > 1 and alike:
        words = " ".join(map(str, runs))
        console.print(f"for differences and their intervals: crossreid compare {words}", soft_wrap=True)


def _refuse_beside(
    network: PretrainedNetwork, runs: list[Path] | None, features: Path | None, checkpoint: str, data: str | None,
    root: Path | None,
) -> None:  # fmt: skip
    """Raise `CrossreidError` for options that do not apply to a network that was not trained here, or are missing for it."""
    if runs or features is not None:
        raise CrossreidError(f"--backbone {network.name}: expected no RUN and no --features beside it.")
    if checkpoint != "best":
        raise CrossreidError(
            f"--checkpoint applies to a run; {network.name} has the weights that --weights names. Leave it out."
        )
    if data is None or root is None:
        raise CrossreidError(
            f"--backbone {network.name}: test data missing. Expected --data NAME --root DIR, or --data manifest --root "
            "FILE.csv."
        )


def _of_network(
    network: PretrainedNetwork, data: str | None, root: Path | None, out: Path | None, **options: Any
) -> dict[Path, list[Score]]:
    from crossreid.runs.zero_shot import evaluate_pretrained

    assert data is not None
    assert root is not None
    return {Path(network.name): evaluate_pretrained(network, data, root, out, **options)}


def need_json(json_file: Path | None, per_query: bool, per_identity: bool) -> None:
    if json_file is None and (per_query or per_identity):
        raise CrossreidError("--per-query and --per-identity go into the file of scores: name a file with --json.")


def score_as_json(score: Score, per_query: bool, per_identity: bool) -> dict[str, Any]:
    from crossreid.evaluation.query_scores import detailed

    return detailed(score.to_json(), score.each, queries=per_query, identities=per_identity)


def rank(
    queries: Annotated[
        Path, typer.Option(help="Query embeddings: .npz, .npy with .csv, .safetensors, or a folder written by embed.")
    ],
    gallery: Annotated[Path, typer.Option(help="Gallery embeddings, in the same formats.")],
    protocol: Annotated[str, typer.Option(help="Protocol to score by; see docs/evaluation.md.")],
    setting: Annotated[list[str] | None, typer.Option(help="Only this setting of the protocol; repeatable.")] = None,
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
    leave_self_out: Annotated[
        bool,
        typer.Option(
            "--leave-self-out", help="Ignore gallery entries with the query's identity and identical embedding."
        ),
    ] = False,
    json_file: JsonFile = None,
    per_query: PerQuery = False,
    per_identity: PerIdentity = False,
) -> None:
    """Rank a gallery by any tool's embeddings, and score it by a protocol."""
    from crossreid.evaluation.external import rank as rank_files
    from crossreid.evaluation.scores import table
    from crossreid.files import write_json

    notes: list[str] = []
    need_json(json_file, per_query, per_identity)

    def note(line: str) -> None:
        notes.append(line)
        errors.print(line, soft_wrap=True)

    scores, seconds = rank_files(
        queries, gallery, protocol, settings=setting, metric=metric, splits=splits, draw=draw, trials=trials, seed=seed,
        rerank=rerank, options=key_values(option, "--option"), normalise=normalise,
        device=device, precision=precision, leave_self_out=leave_self_out, say=note,
    )  # fmt: skip
    console.print(table(scores, published=False))
    if json_file is not None:
        every = [score_as_json(score, per_query, per_identity) for score in scores]
        write_json(
            json_file,
            {**every[0], "seconds": seconds, "notes": notes, **({"settings": every} if len(every) > 1 else {})},
        )
    console.print(f"seconds: loading {seconds['loading']:.2f}, ranking {seconds['ranking']:.2f}", highlight=False)
