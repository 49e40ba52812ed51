"""Jobs of embedding whose images or whose embeddings lie in object storage: the same rows, whatever is killed."""

import csv
import os
import signal
import time

import numpy as np
import pytest

from crossreid.data.addresses import Address
from crossreid.data.images import CannotBeRead, load_image
from crossreid.data.records import DataError
from crossreid.evaluation.embedding_files import check_folder, read_embeddings
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.sources import source_records
from embedding_jobs import COUNT, JOB, in_processes, stopped


def same_rows(found, expected):
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)
    for name in ("identities", "cameras", "modalities", "tracklets", "times"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_manifest_in_a_store_is_embedded_into_it_as_files_are(bucket, stored, model, records, whole, workers):
    prefix = stored(bucket / "some where")
    listed = source_records(f"{prefix}/own.csv")
    for ours, file in zip(listed, records, strict=True):
        np.testing.assert_array_equal(load_image(ours), load_image(file))
    done = embed_records(model, listed, bucket / "out", **JOB, workers=workers)
    assert (done.folder, done.rows, done.before, done.bad) == (bucket / "out", COUNT, 0, 0)
    found = read_embeddings(f"{bucket}/out")
    same_rows(found, read_embeddings(whole))
    assert found.paths[1] == f"{prefix}/images/001.png"
    assert (bucket / "out").names() == ["embeddings.safetensors", "records.parquet"]
    assert int(check_folder(bucket / "out")["rows"]) == COUNT
    assert embed_records(model, listed, bucket / "out", **JOB).before == COUNT


def test_source_and_out_are_independent(bucket, stored, memory, model, records, whole, tmp_path):
    embed_records(model, records, bucket / "of-files", **JOB)
    same_rows(read_embeddings(bucket / "of-files"), read_embeddings(whole))
    listed = source_records(f"{stored(memory)}/own.csv")
    embed_records(model, listed, tmp_path / "files", **JOB)
    same_rows(read_embeddings(tmp_path / "files"), read_embeddings(whole))
    embed_records(model, listed, memory / "out", **JOB)
    same_rows(read_embeddings(memory / "out"), read_embeddings(whole))


def test_a_prefix_is_a_folder_of_images(bucket, stored, place):
    stored(bucket, 10)
    (bucket / "images" / ".hidden.jpg").write_bytes([b"?"])
    (bucket / "images" / "notes.txt").write_bytes([b"?"])
    said = []
    found = source_records(f"{bucket}/images/", modality="infrared", camera=3, say=said.append)
    local = [record for record in source_records(str(place / "images")) if int(record.path.stem) < 10]
    assert [record.path.as_posix() for record in found] == [
        f"{bucket}/images/{record.path.relative_to(place / 'images')}" for record in local
    ]
    assert {(record.camera, int(record.modality)) for record in found} == {(3, 1)}
    assert len(said) == 2


def test_what_was_interrupted_goes_on_and_embeds_no_chunk_twice(bucket, model, records, whole):
    out = bucket / "out"
    stopped(out, model, records, after=20)
    chunks = [name for name in (out / "crossreid-parts").names() if name.startswith("chunk-")]
    assert chunks
    before = {name: Address(f"{out}/crossreid-parts/{name}").read_bytes() for name in chunks}
    done = embed_records(model, records, out, **JOB)
    assert done.before == 8 * len(before)
    same_rows(read_embeddings(out), read_embeddings(whole))


def test_a_killed_process_leaves_whole_chunks(bucket, model, records, whole):
    out = bucket / "out"
    child = os.fork()
    if child == 0:
        try:
            embed_records(model, records, out, **JOB)
        finally:
            os._exit(1)
    parts = out / "crossreid-parts"
    while sum(name.startswith("chunk-") for name in parts.names()) < 2:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    done = embed_records(model, records, out, **JOB)
    assert done.before >= 8
    same_rows(read_embeddings(out), read_embeddings(whole))


def test_processes_share_a_job_in_a_store(bucket, model, records, whole):
    assert in_processes(2, bucket / "out", model, records) == [0, 0]
    same_rows(read_embeddings(bucket / "out"), read_embeddings(whole))


def test_another_job_is_refused_and_the_same_one_at_once_does_no_harm(bucket, model, records, whole):
    out = bucket / "out"
    stopped(out, model, records, after=20)
    with pytest.raises(DataError, match="belongs to another job: the list had 45 images, has 44"):
        embed_records(model, records[:-1], out, **JOB)

    def another(done, total=None):
        if done and not finished:
            finished.append(embed_records(model, records, out, **JOB))

    finished = []
    done = embed_records(model, records, out, **JOB, advance=another)
    assert (done.rows, len(finished)) == (COUNT, 1)
    same_rows(read_embeddings(out), read_embeddings(whole))


def test_a_changed_object_is_noticed(bucket, stored, model):
    prefix = stored(bucket, 12)  # two chunks
    out = bucket / "out"
    stopped(out, model, source_records(f"{prefix}/own.csv"), after=12)
    other = (prefix / "images/001.png").read_bytes()
    (prefix / "images/002.png").write_bytes([other])
    said = []
    embed_records(model, source_records(f"{prefix}/own.csv"), out, **JOB, say=said.append)
    assert said == [f"images have changed, for example {prefix}/images/002.png; 1 chunks are embedded again"]
    (prefix / "images/004.png").write_bytes([other])
    with pytest.raises(DataError, match="images have changed since they were embedded"):
        embed_records(model, source_records(f"{prefix}/own.csv"), out, **JOB)


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_objects_are_skipped_and_a_store_that_fails_is_not(bucket, stored, model, s3, workers, monkeypatch):
    prefix = stored(bucket, 12)  # two chunks
    (prefix / "images/001.png").write_bytes([b"no image"])
    (prefix / "images/002.png").unlink()
    listed = source_records(f"{prefix}/own.csv")
    with pytest.raises(DataError, match=r"images/001.png is not an image"):
        embed_records(model, listed, bucket / "stop", **JOB, workers=workers)
    done = embed_records(model, listed, bucket / "out", **JOB, workers=workers, on_bad_image="skip")
    assert (done.rows, done.bad) == (10, 2)
    rows = list(csv.reader((bucket / "out" / "bad_images.csv").read_bytes().decode().splitlines()))
    assert [row[0] for row in rows] == ["path", f"{prefix}/images/001.png", f"{prefix}/images/002.png"]
    with pytest.raises(CannotBeRead, match=r"az://b/x\.jpg: az:// needs a package that is not installed"):
        load_image(Address("az://b/x.jpg"))
