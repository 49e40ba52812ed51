"""Embedding in bulk: rows in order and exact, whatever the chunks, the processes and the kills."""

import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from small_model import HEIGHT, WIDTH, recipe_of, write_run
from typer.testing import CliRunner

from crossreid.cli import app, main
from crossreid.data.records import DataError, Modality, Record
from crossreid.evaluation.embedding import embed
from crossreid.search import bulk
from crossreid.search.arithmetic import faster_precision
from crossreid.search.bulk import embed_records
from crossreid.search.embeddings import read_embeddings
from crossreid.search.model import open_model
from crossreid.search.processes import Group, locked, process_group
from crossreid.search.sources import source_records

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

        os.fsync, os.replace = then_die(os.fsync), then_die(os.replace)
        bulk.shutil.rmtree = then_die(bulk.shutil.rmtree)
        with contextlib.suppress(BaseException):
            embed_records(model, records, out, **job)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def chunk_files(out):
    found = {}
    for path in out.glob("parts/chunk-*"):
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
    parts = tmp_path / "out" / "parts"
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
        with pytest.raises(DataError, match=f"belongs to another job: .*{message}.*Choose another --out, or delete"):
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
    first = tmp_path / "out" / "parts" / "chunk-00000000.safetensors"
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
    assert "45 of the images were done before" in ran(*command)
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


def test_the_page_shows_what_was_measured():
    root = SOURCE.parent
    measured = json.loads((root / "benchmarks" / "results" / "embedding_cpu.json").read_text(encoding="utf-8"))
    table = runpy.run_path(str(root / "benchmarks" / "embedding.py"))["markdown_table"](measured["cases"])
    assert table in (root / "docs" / "search.md").read_text(encoding="utf-8")
