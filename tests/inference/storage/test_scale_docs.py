"""The commands of docs/embedding_at_scale.md, against a local S3 server."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from torch.distributed.run import parse_args as torchrun_arguments
from typer.testing import CliRunner

from crossreid.cli.app import app

ROOT = Path(__file__).resolve().parents[3]
LINES = [
    shlex.split(line)
    for block in re.findall(r"^```bash\n(.*?)^```", (ROOT / "docs/embedding_at_scale.md").read_text(), re.M | re.S)
    for line in block.splitlines()
    if "--engine ray" not in line  # test_ray_of_the_page.py runs that
]


@pytest.mark.slow
def test_commands_run(photos, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "run", "runs/vd")
    shutil.copytree(place / "images" / "deep", "data/crops")
    for path in Path("data/crops").iterdir():
        for prefix in ("crops", "mine/images"):
            (photos / f"{prefix}/{path.name}").write_bytes([path.read_bytes()])
    names = "".join(f"images/{path.name},{number}\n" for number, path in enumerate(Path("data/crops").iterdir()))
    (photos / "mine/manifest.csv").write_bytes([f"path,identity\n{names}".encode()])
    for program, *arguments in LINES:
        if program == "torchrun":  # test_stored_jobs.py has two processes share a job
            script = torchrun_arguments(arguments)
            program, arguments = "crossreid", script.training_script_args
        assert program == "crossreid"
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert (photos / "embeddings/crops").names() == ["embeddings.safetensors", "records.parquet"]
    assert Path("clusters/photos/clusters.parquet").is_file()
