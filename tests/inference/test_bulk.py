"""Embedding in bulk: rows in order and exact, whatever the chunks, the processes and the kills."""

import contextlib
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file
from typer.testing import CliRunner

from crossreid.cli.app import app, main
from crossreid.data.records import DataError, Modality, Record
from crossreid.evaluation.embedding import embed
from crossreid.inference import bulk
from crossreid.inference.bulk import PARTS, embed_records
from crossreid.inference.embedded_files import EMBEDDINGS, RECORDS, read_embeddings
from crossreid.inference.model import open_model
from crossreid.inference.precision import faster_precision
from crossreid.inference.processes import Group, locked, process_group
from crossreid.inference.sources import source_records
from small_model import HEIGHT, WIDTH, recipe_of, write_run

SOURCE = Path(__file__).resolve().parents[2] / "src"
COUNT = 45
JOB = {"batch": 4, "chunk": 8}  # 6 chunks, the last of 5 images


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, 45 small images of noise in both modalities, and the manifest that lists them."""
    place = tmp_path_factory.mktemp("bulk")
    write_run(place / "run", recipe_of("variational_distillation"))
    write_run(place / "other", recipe_of("baseline"))
    generator = np.random.default_rng(0)
    (place / "images" / "deep").mkdir(parents=True)
    rows = ["path,identity,camera,modality,time,tracklet"]
    for number in range(COUNT):
        path = f"images/{'deep/' if number % 7 == 0 else ''}{number:03d}.{'png' if number % 3 else 'jpg'}"
        Image.fromarray(generator.integers(0, 256, (40 + number, 30, 3), dtype=np.uint8)).save(place / path)
        kind = "infrared" if number % 3 == 1 else "visible"
        time_of = f"2026-11-21T08:00:{number:02d}Z" if number % 2 else ""
        rows.append(
            f"{path},{number % 5 if number % 4 else ''},{number % 6},{kind},{time_of},{'t' if number == 3 else ''}"
        )
    (place / "own.csv").write_text("\n".join(rows) + "\n")
    return place


@pytest.fixture(scope="module")
def model(place):
    return open_model(place / "run", device="cpu")


@pytest.fixture(scope="module")
def records(place):
    return source_records(str(place / "own.csv"))


@pytest.fixture(scope="module")
def whole(place, model, records):
    """What one uninterrupted job writes."""
    done = embed_records(model, records, place / "whole", **JOB)
    assert (done.rows, done.before, done.bad) == (COUNT, 0, 0)
    return place / "whole"


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_rows_are_those_of_the_evaluation_in_the_order_of_the_records(whole, place, records, model):
    found = read_embeddings(whole)
    method = open_model(place / "run", device="cpu", fuse=False).network
    expected = embed(method, records, height=HEIGHT, width=WIDTH)
    np.testing.assert_allclose(found.embeddings, expected, atol=2e-5)
    assert not np.allclose(found.embeddings[0], found.embeddings[1], atol=1e-3), "the images do differ"
    assert found.paths.tolist() == [
        str(place / line.split(",")[0]) for line in (place / "own.csv").read_text().split()[1:]
    ]
    assert found.cameras.tolist() == [number % 6 for number in range(COUNT)]
    assert found.modalities.tolist() == [number % 3 == 1 for number in range(COUNT)]
    assert found.identities.tolist() == [str(number % 5) if number % 4 else None for number in range(COUNT)]
    assert found.tracklets.tolist() == ["t" if number == 3 else None for number in range(COUNT)]
    assert np.isnan(found.times[::2]).all()
    assert found.times[1::2].tolist() == [1795248000 + number for number in range(1, COUNT, 2)]  # by `date -u -d`
    assert found.fingerprint == model.fingerprint
    about = json.loads(found.about["preprocessing"])
    assert (about["height"], about["width"], about["interpolation"]) == (HEIGHT, WIDTH, "bilinear")


def test_the_files_are_what_other_tools_read(whole):
    with safe_open(whole / "embeddings.safetensors", framework="pt") as stored:
        rows = stored.get_tensor("embeddings")
        assert list(stored.keys()) == ["embeddings"]
        assert len(stored.metadata()["model"]) == 64
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(COUNT), atol=1e-5, rtol=0)
    table = parquet.read_table(whole / "records.parquet")
    assert table.column_names[:7] == ["path", "identity", "camera", "modality", "time", "tracklet", "frame"]
    assert set(table["modality"].to_pylist()) == {"visible", "infrared"}


def test_boxes_of_one_picture_are_rows_of_their_own(tmp_path, model, records):
    boxes = [(0, 0, 20, 30), (5, 10, 25, 40), None]
    embed_records(model, [replace(records[0], box=box) for box in boxes], tmp_path / "out")
    found = read_embeddings(tmp_path / "out")
    assert found.boxes.tolist() == boxes
    assert set(found.paths.tolist()) == {records[0].path.as_posix()}
    assert not np.allclose(found.embeddings[0], found.embeddings[1], atol=1e-3)


@settings(max_examples=6)
@given(batch=st.integers(1, 50), more=st.integers(0, 50), workers=st.sampled_from([0, 0, 1]))
def test_chunks_batches_and_workers_change_no_row(batch, more, workers, tmp_path_factory, model, records, whole):
    out = tmp_path_factory.mktemp("any")
    embed_records(model, records, out, batch=batch, chunk=batch + more, workers=workers)
    np.testing.assert_allclose(read_embeddings(out).embeddings, read_embeddings(whole).embeddings, atol=2e-5)


def killed_at(point, out, model, records, **job):
    """A process of its own embeds into `out` and is SIGKILLed at its `point`-th write or rename; whether it came so far."""
    child = os.fork()
    if child == 0:
        count = 0

        def then_die(call):
            def wrapped(*arguments):
                nonlocal count
                count += 1
                if count == point:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments)

            return wrapped

        os.fsync, os.replace, os.rmdir = then_die(os.fsync), then_die(os.replace), then_die(os.rmdir)
        bulk._clear = then_die(bulk._clear)
        with contextlib.suppress(BaseException):
            embed_records(model, records, out, **job)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def chunk_files(out):
    found = {}
    for path in out.glob("crossreid-parts/chunk-*"):
        with contextlib.suppress(FileNotFoundError):  # a job that is joined removes them
            about = path.stat()
            found[path.name] = (about.st_ino, about.st_mtime_ns)
    return found


def test_sigkill_at_every_write_loses_and_repeats_nothing(tmp_path, model, records):
    """Killed before each synchronisation, each rename and the clearing-up; then gone on with; always the same bytes."""
    images, job = records[:21], {"batch": 4, "chunk": 4}  # 6 chunks, the last of 1 image
    embed_records(model, images, tmp_path / "whole", **job)
    whole, points = contents(tmp_path / "whole"), 0
    for point in range(1, 100):
        out = tmp_path / str(point)
        if not killed_at(point, out, model, images, **job):
            break
        points += 1
        finished = chunk_files(out)
        if point % 3 == 0:  # killed twice: the second time a little further on
            killed_at(5, out, model, images, **job)
            later = chunk_files(out)
            assert all(later[name] == known for name, known in finished.items() if later), (
                "a finished chunk was written again"
            )
            finished = later or finished
        is_done = (out / "embeddings.safetensors").exists()
        done = embed_records(model, images, out, **job)
        rows = sum(1 if name.endswith("05.safetensors") else 4 for name in finished)
        assert done.before == (21 if is_done else rows), "what was there was not embedded again, what was not, was"
        assert contents(out) == whole
    assert (
        points >= 3 * 10
    )  # 2 files of the plan, 6 chunks, 2 files at the end: synchronised, renamed, their folder synchronised


def test_sigkill_in_the_middle_of_a_running_job(tmp_path, model, records, whole):
    """A process killed from outside, several times, whenever another chunk is there; what its loaders do is no hindrance."""
    out, known, ends = tmp_path / "out", {}, 0
    while True:
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                embed_records(model, records, out, **JOB, workers=ends % 2)
            os._exit(0)
        while len(chunk_files(out)) <= len(known) and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if (out / "embeddings.safetensors").exists():
            break  # joined: what is left of the chunks is being removed
        found = chunk_files(out)
        assert all(found[name] == before for name, before in known.items())
        known, ends = found, ends + 1
        assert ends < 20
    embed_records(model, records, out, **JOB)
    assert contents(out) == contents(whole)


def in_processes(world, out, model, records, *, kill_after=None):
    """So many processes share a job, as torchrun starts them; all are killed when so many chunks are there."""
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port = any_port.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            os.environ |= {
                "RANK": str(rank),
                "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            status = 1
            with contextlib.suppress(BaseException), process_group() as group:
                embed_records(model, records, out, **JOB, group=group)
                status = 0
            os._exit(status)
        children.append(child)
    while kill_after is not None and len(chunk_files(out)) < kill_after:
        time.sleep(0.001)
    for child in children if kill_after is not None else ():
        os.kill(child, signal.SIGKILL)
    return [os.waitpid(child, 0)[1] for child in children]


def test_several_processes_share_a_job_and_another_number_goes_on_with_it(tmp_path, model, records, whole):
    assert in_processes(2, tmp_path / "two", model, records) == [0, 0]
    assert contents(tmp_path / "two") == contents(whole)
    in_processes(2, tmp_path / "out", model, records, kill_after=2)
    known = chunk_files(tmp_path / "out")
    assert len(known) >= 2
    assert in_processes(3, tmp_path / "out", model, records) == [0, 0, 0]
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_job_that_is_under_way_elsewhere_is_left_alone(rank, tmp_path, model, records):
    parts = tmp_path / "out" / PARTS
    parts.mkdir(parents=True)
    there, told = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(parts, Group(rank, 2)):
            os.write(told, b"!")
            time.sleep(60)
        os._exit(0)
    os.read(there, 1)
    with pytest.raises(DataError, match=f"process {child} is embedding into it"):
        embed_records(model, records, tmp_path / "out", **JOB)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert embed_records(model, records, tmp_path / "out", **JOB).rows == COUNT


def stopped(out, model, records, after=8, **options):
    """A job that is interrupted once so many images are done."""
    total = 0

    def advance(done, images=None):
        nonlocal total
        total += done
        if total >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_records(model, records, out, **{**JOB, **options}, advance=advance)


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
        "the list had 45 images, has 44" if not finished else "the list of images is another": (model, records[:-1], {}),
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


def with_broken(tmp_path, records):
    """Five of the images are empty, truncated, text, gone, or not as large as their box says."""
    bad = {}
    for place, (name, content) in enumerate({"empty.jpg": b"", "text.png": b"no image", "half.jpg": None}.items()):
        path = tmp_path / name
        path.write_bytes(records[0].path.read_bytes()[:200] if content is None else content)
        bad[4 + 9 * place] = Record(path, "")
    bad[6] = Record(tmp_path / "gone.jpg", "")
    bad[44] = Record(records[44].path, "", box=(0, 0, 5000, 10))
    return [bad.get(place, record) for place, record in enumerate(records)], sorted(bad)


def test_unreadable_images_stop_the_job_or_are_left_out_and_listed(tmp_path, model, records, whole):
    mixed, bad = with_broken(tmp_path, records)
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"empty.jpg is empty"):
        embed_records(model, mixed, out, **JOB)
    done = embed_records(model, mixed, out, **JOB, on_bad_image="skip")
    assert (done.rows, done.bad) == (COUNT - 5, 5)
    found = read_embeddings(out)
    kept = [place for place in range(COUNT) if place not in bad]
    assert found.paths.tolist() == [mixed[place].path.as_posix() for place in kept]
    np.testing.assert_allclose(found.embeddings, read_embeddings(whole).embeddings[kept], atol=2e-5)
    lines = (out / "bad_images.csv").read_text().splitlines()
    assert lines[0] == "path,reason"
    assert [line.split(",")[0] for line in lines[1:]] == [mixed[place].path.as_posix() for place in bad]
    assert "not found" in lines[2]
    # Chunks that left images out do not become a job that tolerates none.
    stopped(tmp_path / "again", model, mixed, on_bad_image="skip", after=41)
    with pytest.raises(DataError):
        embed_records(model, mixed, tmp_path / "again", **JOB)
    with pytest.raises(DataError, match="none of the 1 images can be read"):
        embed_records(model, [mixed[6]], tmp_path / "none", **JOB, on_bad_image="skip")


def test_a_damaged_chunk_is_embedded_again(tmp_path, model, records, whole):
    stopped(tmp_path / "out", model, records, after=24)
    first = tmp_path / "out" / PARTS / "chunk-00000000.safetensors"
    first.write_bytes(first.read_bytes()[:-7])
    assert embed_records(model, records, tmp_path / "out", **JOB).before == 8 * (len(chunk_count(24)) - 1)
    assert contents(tmp_path / "out") == contents(whole)


def chunk_count(images):
    return range(images // 8)


def test_files_that_do_not_belong_together_are_refused(tmp_path, model, records, whole):
    embed_records(model, records[:20], tmp_path / "out", **JOB)
    twenty = (tmp_path / "out" / "embeddings.safetensors").read_bytes()
    (tmp_path / "out" / "records.parquet").write_bytes((whole / "records.parquet").read_bytes())
    with pytest.raises(DataError, match=r"records.parquet is not the one that embeddings.safetensors was written with"):
        read_embeddings(tmp_path / "out")
    for damage in (twenty[:-1], twenty[:5], b""):
        (tmp_path / "out" / "embeddings.safetensors").write_bytes(damage)
        with pytest.raises(DataError, match=r"embeddings.safetensors is damaged"):
            read_embeddings(tmp_path / "out")
    with pytest.raises(DataError, match=r"embeddings.safetensors not found"):
        read_embeddings(tmp_path)


def tree(folder):
    """Everything below a folder but locks, with its contents."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.name.startswith("lock")
    }


FOREIGN = {
    "a folder of parts": ("crossreid-parts/cast.txt", r"crossreid-parts/cast\.txt is not of this program"),
    "a chunk of another name": (f"{PARTS}/chunk-old.safetensors", r"chunk-old\.safetensors is not of this program"),
    "a folder like a chunk": (f"{PARTS}/chunk-00000009.safetensors/x", r"chunk-00000009.safetensors is not of this program"),
    "a file": (PARTS, "crossreid-parts is there and is no folder"),
    "records": ("records.parquet", "records.parquet is no table that `crossreid embed` wrote"),
    "a folder of records": ("records.parquet/part-0.parquet", "records.parquet is a folder"),
    "a list": ("bad_images.csv", "bad_images.csv is no list that `crossreid embed` wrote"),
    "embeddings": ("embeddings.safetensors", r"embeddings.safetensors (is damaged|was not written)"),
    "other embeddings": ("embeddings.safetensors", "embeddings.safetensors was not written by `crossreid embed`"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_somebody_else_put_there_is_refused_and_left_as_it_is(kind, tmp_path, model, records):
    name, told = FOREIGN[kind]
    out = tmp_path / "out"
    path = out / name
    path.parent.mkdir(parents=True)
    path.write_text("years of work")
    (out / "parts").mkdir()
    (out / "parts" / "picture.jpg").write_bytes(records[0].path.read_bytes())
    if kind == "records":
        parquet.write_table(pa.table({"path": ["mine.jpg"]}), path)
    if kind == "other embeddings":
        save_file({"embeddings": np.ones((2, 3), np.float32)}, path)
    before = tree(out)
    with pytest.raises(DataError, match=told) as error:
        embed_records(model, records[:3], out, **JOB)
    assert re.search("away", str(error.value)), "and a way out"
    assert tree(out) == before
    top = out / Path(name).parts[0]
    top.unlink() if top.is_file() else shutil.rmtree(top)
    assert embed_records(model, records[:3], out, **JOB).rows == 3
    assert (out / "parts" / "picture.jpg").is_file(), "a folder of images may be called so"


def test_a_finished_job_of_which_a_file_is_gone_or_damaged_says_so_and_how_to_mend_it(tmp_path, model, records):
    """Nothing is called done, nothing removed; and what is advised helps."""
    images = records[:9]
    embed_records(model, images, tmp_path / "whole", **JOB)
    rows, table = ((tmp_path / "whole" / name).read_bytes() for name in (EMBEDDINGS, RECORDS))
    cases = {
        "lost": (rows, None, "records.parquet not found"),
        "cut": (rows, table[:-9], "records.parquet is not the one"),
        "flipped": (rows, table[:40] + bytes([table[40] ^ 1]) + table[41:], "records.parquet is not the one"),
        "short": (rows[:-5], table, "embeddings.safetensors is damaged"),
        "empty": (b"", table, "embeddings.safetensors is damaged"),
    }
    for name, (first, second, told) in cases.items():
        out = tmp_path / name
        (out / PARTS).mkdir(parents=True)
        (out / PARTS / "plan.json").write_text("of a process that was killed")
        (out / EMBEDDINGS).write_bytes(first)
        if second is not None:
            (out / RECORDS).write_bytes(second)
        before = tree(out)
        with pytest.raises(
            DataError, match=rf"{told}.*Move embeddings.safetensors and records.parquet away and embed again"
        ):
            embed_records(model, images, out, **JOB)
        assert tree(out) == before
        for path in (out / EMBEDDINGS, out / RECORDS, out / PARTS / "plan.json"):
            path.unlink(missing_ok=True)
        assert embed_records(model, images, out, **JOB).before == 0
        assert contents(out) == contents(tmp_path / "whole")


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
    with pytest.raises(DataError, match="belongs to another job: the list of images is another"):
        embed_records(model, records[:-1], tmp_path / "out", **JOB)


def copied(records, folder):
    """The images in a folder of their own, where they may be changed."""
    folder.mkdir()
    return [replace(record, path=Path(shutil.copy2(record.path, folder))) for record in records]


def repainted(path):
    Image.effect_noise((30, 40), 99).convert("RGB").save(path)
    time_of = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(time_of, time_of))


def test_chunks_of_images_that_were_changed_are_embedded_again(tmp_path, model, records):
    """Changed, gone, come back: the rows are those of the images as they are when the job ends."""
    images = copied(records[:20], tmp_path / "images")  # 3 chunks, the last of 4
    out, said = tmp_path / "out", []
    images[2].path.rename(tmp_path / "aside.jpg")
    stopped(out, model, images, after=16, on_bad_image="skip")
    (tmp_path / "aside.jpg").rename(images[2].path)
    repainted(images[5].path)
    done = embed_records(model, images, out, **JOB, say=said.append)
    assert (done.rows, done.before, done.bad) == (20, 8, 0), (
        "what was missing is there, and what was finished of it is kept"
    )
    assert said == [f"images were changed, {images[2].path} for example; 1 chunks are embedded again"]
    embed_records(model, images, tmp_path / "anew", **JOB)
    assert contents(out) == contents(tmp_path / "anew")
    stopped(tmp_path / "two", model, images, after=16)
    for place in (7, 9):  # of the first process's chunk, and of the second one's
        repainted(images[place].path)
    assert in_processes(2, tmp_path / "two", model, images) == [0, 0]
    embed_records(model, images, tmp_path / "anew again", **JOB)
    assert contents(tmp_path / "two") == contents(tmp_path / "anew again") != contents(out)
    assert not np.allclose(read_embeddings(out).embeddings[5], model_row(model, records[5]), atol=1e-3), (
        "it is the new picture"
    )


def model_row(model, record):
    from crossreid.inference.export import prepared

    return model.embed(*prepared(model, [record])).numpy()[0]


def test_a_finished_job_whose_images_were_changed_says_so(tmp_path, model, records):
    images = copied(records[:9], tmp_path / "images")
    out = tmp_path / "out"
    embed_records(model, images, out, **JOB)
    assert embed_records(model, images, out, **JOB).before == 9
    before = contents(out)
    later = (out / EMBEDDINGS).stat().st_mtime_ns + 10**9
    os.utime(images[4].path, ns=(later, later))
    with pytest.raises(
        DataError, match=rf"{images[4].path} for example.*move embeddings.safetensors and records.parquet away"
    ):
        embed_records(model, images, out, **JOB)
    images[4].path.unlink()
    with pytest.raises(DataError, match="images were changed since they were embedded: sizes or times"):
        embed_records(model, images, out, **JOB)
    assert contents(out) == before
    for name in (EMBEDDINGS, RECORDS):
        (out / name).unlink()
    assert embed_records(model, images, out, **JOB, on_bad_image="skip").rows == 8
    shutil.copy2(records[4].path, images[4].path)
    for name in (EMBEDDINGS, RECORDS):
        (out / name).unlink()
    assert embed_records(model, images, out, **JOB).bad == 0
    assert not (out / "bad_images.csv").exists(), "the list of the job before is not left as if it were of this one"


def test_what_was_left_out_before_is_listed_with_the_rest(tmp_path, model, records):
    images = [*records[:5], Record(tmp_path / "gone.jpg", "")]
    done = embed_records(
        model, images, tmp_path / "out", **JOB, on_bad_image="skip", left_out=[("images/a, b", "it cannot be read")]
    )
    assert (done.rows, done.bad) == (5, 2)
    lines = (tmp_path / "out" / "bad_images.csv").read_text().splitlines()
    assert lines[:2] == ["path,reason", '"images/a, b",it cannot be read']
    assert lines[2].startswith(f"{tmp_path}/gone.jpg,")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_the_system_does_not_give_out_stops_a_job_that_leaves_bad_images_out(workers, tmp_path, model, records):
    """As somebody who may not read the images; the words are the system's and hold no traceback."""
    if os.getuid() != 0:
        pytest.skip("only root can give its rights away")
    # What is imported as it is needed is imported now: whoever may not read the images may not read Python's files either.
    embed_records(model, records, tmp_path / "as-root", **JOB, workers=workers)
    with tempfile.TemporaryDirectory() as out:
        os.chmod(out, 0o777)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                embed_records(model, records, Path(out), **JOB, on_bad_image="skip", workers=workers)
            except BaseException as error:
                os.write(writing, str(error).encode())
            finally:
                os._exit(0)  # whatever happens: it must not go on as a second run of the tests
        os.waitpid(child, 0)
        os.close(writing)
        told = os.read(reading, 10_000).decode()
        os.close(reading)
    assert told == f"{records[0].path} cannot be read: Permission denied. Mend that, and run the same command again."


def test_progress_does_not_list_the_folder_again_and_again(tmp_path, model, records, monkeypatch):
    """Alone not once; among several every 2 seconds, and of the others' chunks each is told once."""
    listed = []

    def counting(path):
        listed.append(path)
        return [f"chunk-{number:08d}.safetensors" for number in range(4)] + ["plan.json", "chunk-00000099.safetensors"]

    monkeypatch.setattr(bulk.os, "listdir", counting)
    told = []
    chunks = [range(8 * number, 8 * number + 8) for number in range(5)]
    alone = bulk._telling(lambda done: told.append(done), tmp_path, chunks, {0}, 1)
    for _ in range(100):
        alone(4)
    alone(0, now=True)
    assert (listed, sum(told)) == ([], 400)
    clock = iter([0.0, *(0.5 * number for number in range(1, 1000) for _ in range(1))])
    monkeypatch.setattr(bulk.time, "monotonic", lambda: next(clock))
    told.clear()
    several = bulk._telling(lambda done: told.append(done), tmp_path, chunks, {0, 2}, 2)
    for _ in range(20):
        several(4)
    several(0, now=True)
    assert sum(told) == 80 + 16, "the chunks 1 and 3 are others'"
    assert 3 <= len(listed) <= 7


def test_auto_takes_the_precision_that_was_faster_and_alike(model, records):
    """A model that sleeps in one precision, or says another thing in bf16."""

    class Slow:
        runtime, device, preprocessing = "torch", torch.device("cpu"), model.preprocessing

        def __init__(self, sleeps_in, wrong=False):
            self.sleeps_in, self.wrong, self.precision = sleeps_in, wrong, "float32"

        def with_precision(self, precision):
            self.precision = precision
            return self

        def embed(self, images, modalities):
            time.sleep(0.02 if self.precision == self.sleeps_in else 0.002)
            rows = torch.nn.functional.normalize(torch.ones(len(images), 4), dim=1)
            return -rows if self.wrong and self.precision == "bf16" else rows

    for network, expected in ((Slow("float32"), "bf16"), (Slow("bf16"), "float32"), (Slow("float32", True), "float32")):
        chosen, why = faster_precision(network, records, batch=3)
        assert chosen == network.precision == expected
        assert "times as fast on 3 images, cosine at least" in why


def test_the_command_embeds_a_folder_and_says_what_it_did(tmp_path, place, model, capsys):
    def ran(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
        return " ".join(result.output.split())

    out = tmp_path / "out"
    command = (
        "embed",
        place / "run",
        place / "images",
        "--out",
        out,
        "--modality",
        "infrared",
        "--camera",
        3,
        "--device",
        "cpu",
    )
    told = ran(*command)
    assert "embedded 45 images" in told
    assert "precision: " in told
    found = read_embeddings(out)
    assert set(found.modalities.tolist()) == {int(Modality.INFRARED)}
    assert set(found.cameras.tolist()) == {3}
    assert found.identities.tolist() == [None] * COUNT
    assert "embedded 45 images, all of them before" in ran(*command)
    for arguments, message in (
        (("embed", place / "run", place / "images"), "with SOURCE, --out DIR is needed"),
        (("embed", place / "run", place / "images", "--out", out, "--format", "npz"), "--format is for a run's own"),
        (
            ("embed", place / "run", place / "images", "--out", out, "--precision", "fp16"),
            "--precision 'fp16': expected auto or",
        ),
        ((*command[:-2], "--device", "cpu", "--precision", "float32", "--batch", 8), "batch was 64, is 8"),
        (("embed", place / "nothing", place / "images", "--out", out), "holds no run"),
    ):
        with pytest.raises(SystemExit):
            main([str(argument) for argument in arguments])
        assert message in " ".join(capsys.readouterr().err.split())


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_options_that_have_no_meaning_are_refused(place, tmp_path, capsys):
    run = place / "run"
    for option in (
        ("--modality", "infrared"), ("--camera", 3), ("--part", "all"), ("--option", "trial=2"), ("--precision", "float32"),
        ("--on-bad-image", "skip"), ("--batch", 64), ("--chunk", 1024), ("--workers", 0), ("--device", "cpu"),
    ):  # fmt: skip
        assert f"{option[0]} has no meaning for a run's own test features" in refused(capsys, "embed", run, *option)
    assert "--workers, --batch have no meaning" in refused(capsys, "embed", run, "--workers", 1, "--batch", 3)
    file, source = tmp_path / "model.onnx", place / "images"
    assert "is an exported file, which has no test features of its own" in refused(capsys, "embed", file)
    assert "--checkpoint is of a run" in refused(
        capsys, "embed", file, source, "--out", tmp_path, "--checkpoint", "best"
    )
    out = ("--out", tmp_path / "out")
    assert "SOURCE is empty" in refused(capsys, "embed", run, "", *out)
    assert "9223372036854775808" in refused(capsys, "embed", run, source, *out, "--camera", 2**63)
    assert "device 'gpu9': expected cpu" in refused(capsys, "embed", run, source, *out, "--device", "gpu9")
    assert "device 'meta': expected cpu" in refused(capsys, "embed", run, source, *out, "--device", "meta")
    assert not (tmp_path / "out").exists()


def test_the_command_leaves_out_names_that_are_no_text_and_counts_rows(place, tmp_path, capsys):
    """699 of 700 embedded are not 700 that were done before."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        shutil.copy(place / "images" / "001.png", images / f"{number}.png")
    (images / "empty.png").touch()
    shutil.copy(images / "0.png", os.fsencode(images) + b"/caf\xe9.png")
    command = (
        "embed",
        place / "run",
        images,
        "--out",
        tmp_path / "out",
        "--precision",
        "float32",
        "--device",
        "cpu",
        "--workers",
        0,
    )
    assert r"images/caf\xe9.png: its name is no UTF-8" in refused(capsys, *command)
    assert not (tmp_path / "out").exists()
    for before in ("", ", all of them before"):
        result = CliRunner().invoke(app, [*map(str, command), "--on-bad-image", "skip"])
        assert result.exit_code == 0, result.output
        told = " ".join(result.output.split())
        assert f"embedded 3 images{before}: " in told
        assert "left out, unreadable: 2, listed in" in told
    listed = (tmp_path / "out" / "bad_images.csv").read_text()
    assert r"images/caf\xe9.png,its name is no UTF-8" in listed
    assert "images/empty.png," in listed


@pytest.mark.slow
def test_torchrun_with_two_processes_writes_the_same_bytes(tmp_path, place, whole, model):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "crossreid", "embed",
        str(place / "run"), str(place / "own.csv"), "--out", str(tmp_path / "out"), "--precision", "float32", "--batch", "4",
        "--chunk", "8", "--device", "cpu", "--workers", "1",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("embedded 45 images") == 1
    assert contents(tmp_path / "out") == contents(whole)
    assert read_embeddings(tmp_path / "out").fingerprint == model.fingerprint, "the same in every process"


def test_the_page_reads_what_was_embedded(tmp_path, model, records, monkeypatch, capsys):
    page = (SOURCE.parent / "docs" / "search.md").read_text(encoding="utf-8")
    (shown,) = (
        block.split("```")[0] for block in page.split("```python\n")[1:] if "read_embeddings" in block.split("```")[0]
    )
    embed_records(model, records[:3], tmp_path / "embeddings" / "mine", **JOB)
    monkeypatch.chdir(tmp_path)
    exec(compile(shown, "docs/search.md", "exec"), {})
    assert capsys.readouterr().out.split() == ["(3,", "704)", records[0].path.as_posix(), model.fingerprint[:12]]


def test_figures_say_what_they_were_measured_on(tmp_path):
    told = "processor : 0\nmodel name\t: Some CPU 9000\nflags\t\t: fpu avx2 avx512f amx_tile sse\n"
    (tmp_path / "cpuinfo").write_text(f"{told}\n{told.replace('9000', '1')}")
    machine = runpy.run_path(str(SOURCE.parent / "benchmarks" / "machine.py"))["machine"]
    found = machine(tmp_path / "cpuinfo")
    assert (found["processor"], found["flags"]) == ("Some CPU 9000", ["amx_tile", "avx2", "avx512f"])
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", found["date"])
    assert machine(tmp_path / "none")["flags"] == []


def test_the_page_shows_what_was_measured():
    root = SOURCE.parent
    measured = json.loads((root / "benchmarks" / "results" / "embedding_cpu.json").read_text(encoding="utf-8"))
    table = runpy.run_path(str(root / "benchmarks" / "embedding.py"))["markdown_table"](measured["cases"])
    assert table in (root / "docs" / "search.md").read_text(encoding="utf-8")
