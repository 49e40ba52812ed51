"""A job goes on only with what it was begun with."""

import json

import pytest

from crossreid.data.records import DataError, Record
from crossreid.inference.bulk.folder import PARTS
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.embedding_files import RECORDS
from crossreid.inference.open_model import open_model
from embedding_jobs import COUNT, JOB, stopped


@pytest.mark.parametrize("finished", [False, True])
def test_another_model_list_or_option_is_refused_by_name(finished, tmp_path, place, model, records):
    out = tmp_path / "out"
    if finished:
        embed_records(model, records, out, **JOB)
    else:
        stopped(out, model, records)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and not path.name.startswith("lock")}
    another = Record(records[3].path, "somebody else")
    told = {
        "model was .*, is ": (open_model(place / "other", device="cpu"), records, {}),
        "batch was 4, is 2": (model, records, {"batch": 2}),
        "chunk was 8, is 12": (model, records, {"chunk": 12}),
        "precision was float32, is bf16": (model, records, {"precision": "bf16"}),
        "the list had 45 images, has 44" if not finished else "the list of images differs": (model, records[:-1], {}),
        r"image 3 \(.*003.jpg\): identity was '3', is 'somebody else'" if not finished else "the list of images": (
            model, [*records[:3], another, *records[4:]], {},
        ),
    }  # fmt: skip
    for message, (network, images, options) in told.items():
        with pytest.raises(
            DataError, match=f"belongs to another job: .*{message}.*Choose another --out, or (delete|move)"
        ):
            embed_records(network, images, out, **{**JOB, **options})
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and not path.name.startswith("lock")}
    assert after == before, "nothing that was there is lost"
    model.with_precision("float32")
    assert embed_records(model, records, out, **JOB).rows == COUNT


@pytest.mark.parametrize(
    "plan",
    ["", "[]", "null", "7", '{"model": "a"}', '{"chunk": 0}', '{"batch": "4"}', '{"precision": "fp4"}', 9999 * "["],
)
def test_a_damaged_plan_is_named(plan, tmp_path, model, records):
    stopped(tmp_path / "out", model, records)
    path = tmp_path / "out" / PARTS / "plan.json"
    whole = json.loads(path.read_text())
    changes = json.loads(plan) if plan.startswith('{"') and "model" not in plan else None
    path.write_text(plan if changes is None else json.dumps({**whole, **changes}))
    with pytest.raises(DataError, match=r"plan\.json is damaged \(.*\)\. Delete .*crossreid-parts and embed again"):
        embed_records(model, records, tmp_path / "out", **JOB)


@pytest.mark.parametrize("content", [None, b"PAR1"])
def test_another_list_is_refused_also_where_the_first_one_is_lost(content, tmp_path, model, records):
    stopped(tmp_path / "out", model, records)
    path = tmp_path / "out" / PARTS / RECORDS
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="belongs to another job: the list of images differs"):
        embed_records(model, records[:-1], tmp_path / "out", **JOB)
