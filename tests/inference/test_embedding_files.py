"""Embeddings on disk are read as they were written, or refused."""

import pyarrow.parquet as parquet
import pytest
import torch
from safetensors import safe_open

from crossreid.data.records import DataError
from crossreid.inference.bulk.job import embed_records
from crossreid.inference.embedding_files import read_embeddings
from embedding_jobs import COUNT, JOB


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


def test_files_that_do_not_belong_together_are_refused(tmp_path, model, records, whole):
    embed_records(model, records[:20], tmp_path / "out", **JOB)
    twenty = (tmp_path / "out" / "embeddings.safetensors").read_bytes()
    (tmp_path / "out" / "records.parquet").write_bytes((whole / "records.parquet").read_bytes())
    with pytest.raises(DataError, match=r"records.parquet is not the one written with embeddings.safetensors"):
        read_embeddings(tmp_path / "out")
    for damage in (twenty[:-1], twenty[:5], b""):
        (tmp_path / "out" / "embeddings.safetensors").write_bytes(damage)
        with pytest.raises(DataError, match=r"embeddings.safetensors is damaged"):
            read_embeddings(tmp_path / "out")
    with pytest.raises(DataError, match=r"embeddings.safetensors not found"):
        read_embeddings(tmp_path)
