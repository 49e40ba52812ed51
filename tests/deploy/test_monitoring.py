"""deploy/monitoring: every metric that is asked for is one that a running service exports, with the labels that it has."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from crossreid.service.keys import add_key
from served import make_place, search, served

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MONITORING = DEPLOY / "monitoring"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
ADDED = {"job", "instance"}  # by Prometheus itself


def read(path):
    return yaml.safe_load((MONITORING / path).read_text(encoding="utf-8"))


DASHBOARD = json.loads((MONITORING / "grafana/dashboards/crossreid.json").read_text(encoding="utf-8"))
RULES = [rule for group in read("alerts.yaml")["groups"] for rule in group["rules"]]
QUERIES = [rule["expr"] for rule in RULES]
QUERIES += [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Names and labels of the samples of a service that was asked with a key for metrics alone."""
    folder = tmp_path_factory.mktemp("monitored")
    place = make_place(folder, "baseline")
    keys = folder / "keys.json"
    searcher, scraper = add_key(keys, "desk", ["search"]), add_key(keys, "prometheus", ["watch"])
    with served(place, folder / "state", keys=keys, explain=False) as running:
        with running.client(searcher) as client:
            search(client, place.images[0].read_bytes(), modality="visible")
        assert httpx.get(f"{running.url}/metrics").status_code == 401
        with running.client(scraper) as client:
            assert client.get("/v1/sample").status_code == 403  # it reads figures, and nobody's images
            text = client.get("/metrics").text
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    return samples


def test_every_metric_that_is_asked_for_is_exported(exported):
    asked = {name for query in QUERIES for name in re.findall(r"\bcrossreid_\w+", query)}
    assert asked - set(exported) == set()
    told = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in exported if name.startswith("crossreid_")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert {name for name in told if name not in shown} <= {re.sub("_total$", "", name) for name in shown}


def test_every_label_that_is_asked_for_is_there(exported):
    for query in QUERIES:
        for name, selected in re.findall(r"\b(crossreid_\w+)\{([^}]*)\}", query):
            assert set(re.findall(r"(\w+)\s*[=!]~?", selected)) <= exported[name] | ADDED, query
        names = re.findall(r"\bcrossreid_\w+", query)
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            assert set(grouped.replace(" ", "").split(",")) <= set().union(*(exported[name] for name in names)) | ADDED


def test_brackets_of_queries_close():
    for query in QUERIES:
        for left, right in ("()", "{}", "[]"):
            assert query.count(left) == query.count(right), query


def test_alerts_say_what_is_wrong_and_how_urgent_it_is():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
        assert re.fullmatch(r"\d+m", rule.get("for", "1m"))
    assert any("housekeeping_failures" in rule["expr"] for rule in RULES)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool, which comes with Prometheus")
def test_prometheus_takes_its_settings_and_rules():
    for asked in (
        ["config", "--syntax-only", "prometheus.yaml"],
        ["rules", "alerts.yaml"],
    ):  # the key's file is elsewhere
        done = subprocess.run(["promtool", "check", *asked], cwd=MONITORING, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_asks_services_of_the_compose_file_with_its_key():
    settings = read("prometheus.yaml")
    mounts = {volume["target"]: volume["source"] for volume in COMPOSE["services"]["prometheus"]["volumes"]}
    for name in settings["rule_files"]:
        assert (DEPLOY / mounts[f"/etc/prometheus/{name}"]).is_file()
    jobs = {job["job_name"]: job for job in settings["scrape_configs"]}
    for job in jobs.values():
        (target,) = job["static_configs"][0]["targets"]
        host = COMPOSE["services"][target.split(":")[0]]
        assert set(host["networks"]) & set(COMPOSE["services"]["prometheus"]["networks"])
    (secret,) = COMPOSE["services"]["prometheus"]["secrets"]
    assert jobs["crossreid"]["authorization"] == {"type": "Bearer", "credentials_file": f"/run/secrets/{secret}"}
    assert 'job="crossreid"' in RULES[0]["expr"]


def test_the_dashboard_has_its_source_and_every_panel_its_place():
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    (provider,) = read("grafana/provisioning/dashboards/crossreid.yaml")["providers"]
    mounts = {volume["target"] for volume in COMPOSE["services"]["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounts
    assert source["url"] == "http://prometheus:9090"
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered = set()
    for panel in panels:
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & covered
        covered |= cells
    (variable,) = DASHBOARD["templating"]["list"]
    assert variable["current"]["value"] == "crossreid"
