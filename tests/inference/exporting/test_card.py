"""Model cards: all that is known of a run is on them, what is not is said to be unknown, and hostile names stay text."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from crossreid.evaluation.scores import KEYS
from crossreid.inference.exporting.card import _data_of, card_files, make_card, read_card
from crossreid.inference.exporting.card_page import card_page, plain
from crossreid.inference.exporting.card_words import KNOWN_FAILURES
from crossreid.inference.exporting.exported import Exported, Fidelity
from crossreid.inference.open_model import open_model
from exported_run import NAME, exported_run
from small_model import recipe_of
from tiny_backbone import TINY_NETWORK
from tiny_backbone import tiny_backbone_of_module as tiny_backbone_of_module

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_backbone_of_module):
    return exported_run(tmp_path_factory.mktemp("card"), network=TINY_NETWORK)


def test_a_rendered_world_is_not_called_the_data_set_whose_layout_it_has(tmp_path):
    (tmp_path / "factors.csv").write_text("path\n")
    recipe = recipe_of("baseline")
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": tmp_path})})
    (data,) = _data_of(recipe)
    assert data.title == "images rendered by crossreid, in the layout of SYSU-MM01"
    assert (data.name, data.licence) == ("sysu-mm01", "none needed")
    assert "no images of that data set" in data.citation


def test_a_card_lies_beside_the_file_and_says_what_it_is(made):
    run, exported, _ = made
    card = read_card(exported.path)
    assert exported.card == card_files(exported.path)[0]
    assert read_card(exported.card) == card
    model = open_model(exported.path, device="cpu")
    assert (card.name, card.network.fingerprint, card.network.dimension) == (NAME, model.fingerprint, model.dimension)
    assert card.file.sha256 == hashlib.sha256(exported.path.read_bytes()).hexdigest()
    assert card.preprocessing.mean == model.preprocessing.mean
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert card.recipe is not None
    assert card.recipe["method"]["name"] == recipe["method"]["name"]
    assert card.recipe["data"]["root"] == "all", "of /nowhere/at/all"
    assert "/nowhere" not in exported.card.read_text() + card_files(exported.path)[1].read_text()
    (data,) = card.data
    assert "Sun Yat-sen" in data.licence
    assert "RGB-Infrared Cross-Modality" in data.citation
    assert card.scores.of == "nothing"
    assert card.start.licence == "none needed"
    assert {"crossreid", "python", "torch", "onnx"} <= card.versions.keys()


def test_inputs_and_outputs_are_those_of_the_file(made):
    import onnxruntime

    _, exported, _ = made
    card = read_card(exported.path)
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    types = {"float32": "tensor(float)", "int64": "tensor(int64)"}
    for told, found in ((card.inputs, session.get_inputs()), (card.outputs, session.get_outputs())):
        assert [(each.name, types[each.dtype], each.shape[1:]) for each in told] == [
            (each.name, each.type, tuple(each.shape[1:])) for each in found
        ]


def test_the_page_is_a_model_card_as_hugging_face_reads_them(made):
    _, exported, _ = made
    page = ModelCard.load(str(card_files(exported.path)[1]))
    told = page.data.to_dict()
    assert told["license"] == "unknown"
    assert told["library_name"] == "crossreid"
    assert {"re-identification", "onnx"} <= set(told["tags"])
    assert page.text.strip().splitlines()[0] == f"# {plain(NAME)}"
    assert "<b>" not in page.text


def with_scores(card):
    rows = json.loads(
        json.dumps(
            [
                {
                    "protocol": "regdb",
                    "setting": "visible to thermal",
                    "figures": dict.fromkeys(KEYS, 0.25),
                    "conditions": "c",
                }
            ]
        )
    )
    scores = {"of": "test", "note": "as stored", "rows": rows}
    return type(card).model_validate(card.model_dump(mode="json") | {"scores": scores})


def test_scores_of_the_test_are_results_in_the_header(made, tmp_path):
    _, exported, _ = made
    (tmp_path / "page.md").write_text(card_page(with_scores(read_card(exported.path))))
    results = ModelCard.load(str(tmp_path / "page.md")).data.eval_results
    assert {(each.metric_type, each.metric_value) for each in results} == {
        ("rank-1", 0.25),
        ("mAP", 0.25),
        ("mINP", 0.25),
    }


def test_a_lower_precision_tells_what_it_costs(made):
    run, exported, _ = made
    fidelity = Fidelity(0.999, 0.99, 40, {"mAP": (0.5, 0.48)}, "regdb, visible to thermal", 200)
    lower = Exported(
        exported.path, exported.dimension, 1e-6, 8, precision="int8", fidelity=fidelity, compared_on="test images"
    )
    card = make_card(open_model(run, device="cpu"), lower)
    page = card_page(card)
    assert card.fidelity is not None
    assert card.fidelity.scores == {"mAP": (0.5, 0.48)}
    assert "| mAP | 50.00 | 48.00 | -2.00 |" in page
    assert "200 training images" in page


def test_validations_stand_where_there_is_no_test_and_are_called_that(made):
    run, exported, _ = made
    rows = [
        {"step": step, "epoch": 1, "validation": {"rank-1": 0.5, "mAP": value}} for step, value in ((4, 0.2), (8, 0.3))
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"half')
    try:
        card = make_card(open_model(run, device="cpu"), exported)
    finally:
        (run / "metrics.jsonl").unlink()
    assert card.scores.of == "validation"
    (row,) = card.scores.rows
    assert row.figures == {"rank-1": 0.5, "mAP": 0.3}
    assert "at step 8" in row.conditions
    assert "not the published test" in row.conditions
    assert "model-index" not in card_page(card)


def test_scores_older_than_the_weights_are_left_aside(made):
    run, exported, _ = made
    (run / "scores.json").write_text("[]")
    os.utime(run / "scores.json", (1, 1))
    try:
        card = make_card(open_model(run, device="cpu"), exported)
    finally:
        (run / "scores.json").unlink()
    assert card.scores.of == "nothing"
    assert "older than the weights" in card.scores.note


@pytest.mark.parametrize(("content", "told"), [("[{}]", "damaged"), ("[", "damaged"), ("[]", "another checkpoint")])
def test_damaged_scores_are_left_aside_and_that_is_said(content, told, made):
    run, exported, _ = made
    (run / "scores.json").write_text(content)
    try:
        card = make_card(open_model(run, device="cpu"), exported)
    finally:
        (run / "scores.json").unlink()
    assert (card.scores.of, card.scores.rows) == ("nothing", ())
    assert told in card.scores.note


def test_known_failures_are_those_of_the_page():
    text = (ROOT / "docs" / "responsible-use.md").read_text(encoding="utf-8")
    section = text.partition("## Known ways to fail\n")[2].partition("\n## ")[0]
    assert [each.title for each in KNOWN_FAILURES] == re.findall(r"^\* \*\*(.+?)\.\*\*", section, flags=re.M)


def test_cards_that_are_none_are_refused(made, tmp_path):
    _, exported, _ = made
    told = json.loads(exported.card.read_text())
    changes = {
        "another format": told | {"format": "crossreid-card-2"},
        "a key more": told | {"author": "x"},
        "a digest that is none": told | {"network": told["network"] | {"fingerprint": "c0de"}},
        "a figure over 1": json.loads(with_scores(read_card(exported.path)).model_dump_json().replace("0.25", "1.25")),
    }
    for value in changes.values():
        (tmp_path / "x.card.json").write_text(json.dumps(value))
        with pytest.raises(ValueError, match=r"is no card of this version: .*Export again"):
            read_card(tmp_path / "x.card.json")
    with pytest.raises(ValueError, match=r"not found\. Expected the model card"):
        read_card(tmp_path / "none.onnx")
