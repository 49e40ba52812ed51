"""Every YAML file of deploy/ is read by yamllint without a remark; the chart's templates are none until they are rendered."""

import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = (
    "{extends: default, rules: {document-start: disable, line-length: {max: 135}, braces: {max-spaces-inside: 0}, "
    "comments: {min-spaces-from-content: 2}, truthy: {check-keys: false}}}"
)


def test_yamllint_finds_nothing():
    files = [path for path in sorted(DEPLOY.rglob("*.yaml")) if "templates" not in path.parts]
    assert len(files) >= 7
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-d", RULES, *files], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")
