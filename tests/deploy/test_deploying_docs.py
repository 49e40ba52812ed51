"""docs/deploying.md: its commands name what there is, and those of crossreid run."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from charts import NEEDED, built, go, manifests, rendered
from crossreid.cli.app import app
from crossreid.service.keys import read_keys

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
LINES = [
    shlex.split(line)
    for block in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.M | re.S)
    for line in block.replace("\\\n", " ").splitlines()
]
SERVICES = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]


def of(*start):
    """The shown commands that start so, without that."""
    return [words[len(start) :] for words in LINES if words[: len(start)] == list(start)]


def test_nothing_else_is_shown():
    known = {"docker", "cp", "chmod", "crossreid", "kubectl", "helm"}
    assert {words[0] for words in LINES} == known


def test_images_are_built_of_files_that_are_there():
    for words in of("docker", "build"):
        assert words[0] == "-f"
        assert (ROOT / words[1]).is_file()
        assert words[1] in (ROOT / words[1]).read_text(encoding="utf-8")  # which says the same command
    (copied,) = of("cp")
    assert (ROOT / copied[0]).is_file()
    assert of("chmod") == [["600", copied[1]]]


def test_compose_is_asked_for_services_that_there_are(tmp_path):
    asked = of("docker", "compose", "-f", "deploy/compose.yaml")
    assert [words[0] for words in asked] == ["build", "run", "run", "up"]
    assert "build" in SERVICES[asked[0][1]]
    for words in asked[1:3]:
        assert words[1] == "--rm"
        (volume,) = SERVICES[words[2]]["volumes"]
        given = [each.replace(volume["target"], str(tmp_path), 1) for each in words[3:]]
        done = CliRunner().invoke(app, [*SERVICES[words[2]]["entrypoint"][3:], *given])
        assert done.exit_code == 0, done.output
    assert [key.name for key in read_keys(tmp_path / "keys.json")] == ["desk", "prometheus"]


@pytest.mark.skipif(go() is None, reason="no Go to render the templates with")
def test_the_chart_is_installed_with_secrets_that_were_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in of("crossreid"):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    secrets = {
        words[0]: words[1].removeprefix("--from-").split("=") for words in of("kubectl", "create", "secret", "generic")
    }
    (installed,) = of("helm", "install")
    assert (ROOT / installed[1] / "Chart.yaml").is_file()
    values = {}
    for option, setting in zip(installed[2::2], installed[3::2], strict=True):
        assert option == "--set"
        path, _, value = setting.partition("=")
        *tables, last = path.split(".")
        table = values
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = int(value) if value.isdecimal() else value
    assert values == NEEDED
    objects = manifests(rendered(built(tmp_path), values, release=installed[0]))
    spec = objects["StatefulSet", f"{installed[0]}-crossreid"]["spec"]["template"]["spec"]
    named = {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    reference = spec["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]
    assert named | {reference["name"]} == set(secrets)
    assert secrets["crossreid-keys"] == ["file", "keys.json"]
    assert (tmp_path / "keys.json").is_file()
    assert secrets[reference["name"]][:2] == ["literal", reference["key"]]
