"""Embedding in bulk: rows in order and exact, whatever the chunks, the processes and the kills."""

import contextlib
import json
import os
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.data.records import DataError, Record
from crossreid.evaluation.embedding import embed
from crossreid.inference.bulk import finished
from crossreid.inference.bulk.folder import PARTS
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.embedding_files import read_embeddings
from crossreid.inference.embedding_model import prepared
from crossreid.inference.open_model import open_model
from embedding_jobs import COUNT, JOB, chunk_files, contents, copied, in_processes, repainted, stopped
from small_model import HEIGHT, WIDTH


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
        finished.clear = then_die(finished.clear)
        with contextlib.suppress(BaseException):
            embed_records(model, records, out, **job)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_sigkill_at_every_write_loses_and_repeats_nothing(tmp_path, model, records):
    """Killed before each synchronisation, each rename and the clearing-up; then gone on with; always the same bytes."""
    images, job = records[:5], {"batch": 2, "chunk": 2}  # 3 chunks, the last of 1 image
    embed_records(model, images, tmp_path / "whole", **job)
    whole, points = contents(tmp_path / "whole"), 0
    for point in range(1, 100):
        out = tmp_path / str(point)
        if not killed_at(point, out, model, images, **job):
            break
        points += 1
        chunks = chunk_files(out)
        if point % 3 == 0:  # killed twice: the second time a little further on
            killed_at(5, out, model, images, **job)
            later = chunk_files(out)
            assert all(later[name] == known for name, known in chunks.items() if later), (
                "a finished chunk was written again"
            )
            chunks = later or chunks
        is_done = (out / "embeddings.safetensors").exists()
        done = embed_records(model, images, out, **job)
        rows = sum(1 if name.endswith("02.safetensors") else 2 for name in chunks)
        assert done.before == (5 if is_done else rows), "what was there was not embedded again, what was not, was"
        assert contents(out) == whole
    # 2 files of the plan, 3 chunks, 2 files at the end: synchronised, renamed, their folder synchronised.
    assert points >= 3 * 7


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


def test_several_processes_share_a_job_and_another_number_goes_on_with_it(tmp_path, model, records, whole):
    assert in_processes(2, tmp_path / "two", model, records) == [0, 0]
    assert contents(tmp_path / "two") == contents(whole)
    in_processes(2, tmp_path / "out", model, records, kill_after=2)
    known = chunk_files(tmp_path / "out")
    assert len(known) >= 2
    assert in_processes(3, tmp_path / "out", model, records) == [0, 0, 0]
    assert contents(tmp_path / "out") == contents(whole)


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
    assert said == [f"images have changed, for example {images[2].path}; 1 chunks are embedded again"]
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
    return model.embed(*prepared(model, [record])).numpy()[0]


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
    assert told == f"{records[0].path} cannot be read: Permission denied. Fix that, and run the same command again."
