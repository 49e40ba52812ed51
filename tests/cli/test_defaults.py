"""A command and the function that it calls have the same defaults, so that both give the same answer."""

import inspect

import pytest

import crossreid
from crossreid.cli import calibrate, cluster, compare, data, evaluate, fuse, report

# What a command calls otherwise, and what it has that the function has not.
OTHER_NAMES = {"setting": "settings", "option": "options", "query_images": "query_images", "untrained": "untrained"}
PAIRS = [
    (evaluate.rank, crossreid.rank, {"queries", "gallery", "protocol", "json_file", "per_query", "per_identity"}),
    (
        fuse.fuse,
        crossreid.fuse,
        {
            "embeddings",
            "protocol",
            "calibrate_on",
            "gallery",
            "calibration_gallery",
            "json_file",
            "per_query",
            "per_identity",
        },
    ),
    (
        calibrate.calibrate,
        crossreid.calibrate,
        {"run", "false_accept_rate", "gallery", "token", "collection", "backbone", "weights", "size", "flip"},
    ),
    (
        cluster.cluster,
        crossreid.cluster,
        {"embeddings", "gallery", "images", "no_tracklets", "no_frames", "no_pictures", "token", "collection"},
    ),
    (data.check, crossreid.check, {"dataset", "root", "recipe", "sheet", "overrides"}),
    (compare.compare, crossreid.compare, {"runs", "out", "option"}),
    (report.report, crossreid.report, {"runs"}),
    (report.plot, crossreid.plot, {"what", "out"}),
]


@pytest.mark.parametrize(("command", "function", "own"), PAIRS, ids=lambda value: getattr(value, "__name__", ""))
def test_defaults_agree(command, function, own):
    ours = inspect.signature(command).parameters
    theirs = inspect.signature(function).parameters
    for name, parameter in ours.items():
        if name in own:
            continue
        other = theirs.get(OTHER_NAMES.get(name, name)) or theirs.get(f"{name}s")
        assert other is not None, f"{name}: {function.__name__} has no such parameter"
        assert parameter.default == other.default, name


@pytest.mark.parametrize("name", ["metric", "checkpoint", "rerank", "query_images"])
def test_evaluating_a_run_does_too(name):
    """The command also scores features of other tools, whose options are of that alone."""
    from crossreid.runs.evaluate import evaluate as function

    assert (
        inspect.signature(evaluate.evaluate).parameters[name].default
        == inspect.signature(function).parameters[name].default
    )
