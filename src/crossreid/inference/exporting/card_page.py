"""A model card as a page: Markdown with the YAML header of Hugging Face's model cards.

Text from users (names of runs, data sets, weights) is escaped, so that it is read as neither Markdown nor HTML.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from crossreid.inference.exporting.card_schema import UNKNOWN, Card, CardScore

_SPECIAL = re.compile(r"([\\`*_\[\]#|&~$])")
_METRICS = ("rank-1", "mAP", "mINP")


def card_page(card: Card) -> str:
    """Return a card as Markdown."""
    header = yaml.safe_dump(_header(card), sort_keys=False, allow_unicode=True, width=10_000)
    parts = [f"---\n{header}---\n\n# {plain(card.name)}", *_sections(card)]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def plain(text: object) -> str:
    """Return a text on one line, without characters that mean something in Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split())).replace("<", "&lt;").replace(">", "&gt;")


def _header(card: Card) -> dict[str, Any]:
    header: dict[str, Any] = {
        "library_name": "crossreid",
        "license": UNKNOWN,  # no licence for passing on the weights was stated
        "pipeline_tag": "image-feature-extraction",
        "tags": ["re-identification", "cross-modality", card.network.method, card.file.target],
    }
    if rows := [row for row in card.scores.rows if card.scores.of == "test"]:
        header["model-index"] = [{"name": card.name, "results": [_result(card, row) for row in rows]}]
    return header


def _result(card: Card, row: CardScore) -> dict[str, Any]:
    data = card.data[0].name if len(card.data) == 1 else "several"
    metrics = [{"type": name, "value": row.figures[name], "name": name} for name in _METRICS if name in row.figures]
    return {
        "task": {"type": "image-feature-extraction", "name": "re-identification"},
        "dataset": {"type": data, "name": f"{row.protocol}, {row.setting}"},
        "metrics": metrics,
    }


def _sections(card: Card) -> list[str]:
    return [
        _network(card),
        "## Use\n\n" + "\n".join(f"* **{plain(one.title)}.** {plain(one.text)}" for one in card.intended_use),
        "## Known ways to fail\n\n"
        + "\n".join(f"* **{plain(one.title)}.** {plain(one.text)}" for one in card.known_failures),
        _scores(card),
        _measured(card),
        _calibration(card),
        _agreement(card),
        _pixels(card),
        _training(card),
        "## Versions\n\n" + _table(("what", "version"), list(card.versions.items())),
    ]


def _network(card: Card) -> str:
    network, file = card.network, card.file
    rows = [
        ("method", f"{network.title} ({network.method})"),
        ("file", f"{file.name}, {file.target}, {file.precision}"),
        ("SHA-256 of the file", file.sha256 or UNKNOWN),
        ("fingerprint of the weights", network.fingerprint),
        ("embedding", f"{network.dimension} dimensions{', with the mirror image' if network.flip else ''}"),
        ("training", network.trained or "finished"),
        ("starts from", card.start.weights),
        ("licence of those weights", card.start.licence),
        ("licence of this file", UNKNOWN),
        ("exported", card.date),
    ]
    return "Embeddings of images, by which one identity is found again.\n\n" + _table(("what", "is"), rows)


def _scores(card: Card) -> str:
    scores = card.scores
    titles = {"test": "Scores", "validation": "Scores of the validation", "nothing": "Scores"}
    text = f"## {titles[scores.of]}\n\n"
    if not scores.rows:
        return f"{text}None: {plain(scores.note)}."
    keys = list(dict.fromkeys(key for row in scores.rows for key in row.figures))
    rows = [
        (
            f"{row.protocol}, {row.setting}",
            *(f"{100 * row.figures[key]:.2f}" if key in row.figures else "" for key in keys),
        )
        for row in scores.rows
    ]
    notes = "\n".join(f"* {plain(row.protocol)}, {plain(row.setting)}: {plain(row.conditions)}." for row in scores.rows)
    return f"{text}Percent, {plain(scores.note)}.\n\n{_table(('setting', *keys), rows)}\n\n{notes}"


def _measured(card: Card) -> str:
    if not card.measured:
        return ""
    rows = [
        (one.part, one.figure, f"{100 * one.value:.2f}", "" if one.queries is None else one.queries)
        for one in card.measured
    ]
    return "## Parts of the test\n\nPercent.\n\n" + _table(("part", "figure", "value", "queries"), rows)


def _calibration(card: Card) -> str:
    if card.calibration is None:
        return "## Calibration\n\nNone: scores are cosine similarities, not probabilities."
    told = card.calibration
    data = ", ".join(f"{key} {value}" for key, value in told.data.items())
    head = f"## Calibration\n\nBy {plain(told.method)} at a prior of {told.prior}; pairs of {plain(data)}."
    keys = list(dict.fromkeys(key for pair in told.pairs.values() for key in pair))
    rows = [(name, *(f"{pair[key]:.6g}" if key in pair else "" for key in keys)) for name, pair in told.pairs.items()]
    return f"{head}\n\n{_table(('pair', *keys), rows)}" if rows else head


def _agreement(card: Card) -> str:
    text = (
        "## Agreement with PyTorch\n\nIn float32 no value of any embedding differs by more than "
        f"{card.agreement.difference:.1e}, on {card.agreement.images} images of "
        f"{plain(card.agreement.of)}."
    )
    told = card.fidelity
    if told is None:
        return text
    text += (
        f"\n\nIn {card.file.precision} the cosine with float32 is {told.mean_cosine:.6f} on average and {told.least_cosine:.6f} at "
        f"least, on {told.images} images."
    )
    if told.calibrated_on:
        text += f" Ranges were measured on {told.calibrated_on} training images."
    if not told.scores:
        return text + " Scores were not measured, as the data set was not at hand."
    rows = [
        (name, f"{100 * one:.2f}", f"{100 * other:.2f}", f"{100 * (other - one):+.2f}")
        for name, (one, other) in told.scores.items()
    ]
    return f"{text}\n\nPercent, by {plain(told.protocol)}.\n\n{_table(('figure', 'float32', card.file.precision, 'change'), rows)}"


def _pixels(card: Card) -> str:
    seen = card.preprocessing
    rows = [
        ("size", f"{seen.height} x {seen.width} (height x width), the aspect ratio is not kept"),
        ("interpolation", f"{seen.interpolation}, antialiased"),
        ("channels", f"{seen.channels}, {seen.layout}"),
        (
            "values",
            f"{seen.value_range[0]:g} to {seen.value_range[1]:g}, minus the mean, divided by the standard deviation",
        ),
        ("mean", ", ".join(f"{one:.6g}" for one in seen.mean)),
        ("deviation", ", ".join(f"{one:.6g}" for one in seen.std)),
        ("16-bit images to 8 bits", seen.levels),
    ]
    tensors = [
        (kind, one.name, one.dtype, " x ".join(map(str, one.shape)), one.meaning)
        for kind, group in (("input", card.inputs), ("output", card.outputs))
        for one in group
    ]
    return (
        f"## Images and tensors\n\n{_table(('what', 'is'), rows)}\n\n"
        f"{_table(('', 'name', 'type', 'shape', 'is'), tensors)}"
    )


def _training(card: Card) -> str:
    text = "## Training\n\n"
    if card.recipe is None:
        return f"{text}The network was not trained here. The training data of its weights are {UNKNOWN} here."
    rows = [(one.title, one.citation, one.licence) for one in card.data]
    recipe = yaml.safe_dump(card.recipe, sort_keys=False, allow_unicode=False, width=100)
    quoted = "\n".join(f"    {line}" for line in recipe.splitlines())  # an indented block, which no text in it can end
    return f"{text}{_table(('data set', 'citation', 'terms'), rows)}\n\nThe whole recipe, paths without their folders:\n\n{quoted}"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell if line[0] == "---" else plain(cell) for cell in line) + " |" for line in lines
    )
