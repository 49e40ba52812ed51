"""What a release states is the same everywhere, and CITATION.cff is valid."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def test_every_file_that_states_a_version_states_the_same():
    chart = yaml.safe_load(text("deploy/chart/crossreid/Chart.yaml"))
    found = {
        "src/crossreid/__init__.py": re.search(r'__version__ = "(.*)"', text("src/crossreid/__init__.py"))[1],
        "CITATION.cff": yaml.safe_load(text("CITATION.cff"))["version"],
        "CHANGELOG.md": re.search(r"(?m)^## (\S+)", text("CHANGELOG.md"))[1],
        "Chart.yaml": chart["version"],
        "Chart.yaml, the image": chart["appVersion"],
        "docs/deploying.md": re.search(r"-t crossreid:(\S+) ", text("docs/deploying.md"))[1],
        "compose.yaml": re.search(r"crossreid:([\d.]+)", text("deploy/compose.yaml"))[1],
    }
    assert set(found.values()) == {PROJECT["version"]}, found


def test_the_citation_is_valid_and_of_this_licence():
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.citation-file-format", str(ROOT / "CITATION.cff")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert yaml.safe_load(text("CITATION.cff"))["license"] == PROJECT["license"]["text"]


def test_the_changelog_says_what_was_added_changed_and_fixed():
    versions = re.split(r"(?m)^## ", text("CHANGELOG.md"))[1:]
    for version in versions:
        kinds = re.findall(r"(?m)^### (.*)$", version)
        assert kinds, version[:40]
        assert kinds == [
            kind for kind in ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security") if kind in kinds
        ]
