"""The cost of each network, and its accuracy without any training here: docs/networks.md.

Each network embeds prepared images in a process of its own, with random weights, as the weights do not affect the cost.
With `--weights`, the networks with a file in that folder (NAME.safetensors) are scored on photographs: the validation
cows of benchmarks/cattle.py (CATTLE; the test cows are never used) and the test flanks of benchmarks/nyala.py (NYALA),
beside the same networks with random weights and raw pixels.

    python benchmarks/networks.py [--networks NAME ...] [--rounds N]
        [--weights FOLDER --cattle CATTLE --nyala NYALA --out SCRATCH] [--json benchmarks/results/networks_cpu.json]
    python benchmarks/networks.py --write

New measurements replace those in the file; `--write` makes the page from the file.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crossreid.files import replacing

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "networks_cpu.json"
PAGE = ROOT / "docs" / "networks.md"
BATCH = 16
SAME = ("processor", "cores", "torch", "rounds")  # of all rows of one file, as the page says them once


class Choice(NamedTuple):
    """What the page states about a network without measuring it: its job, and the licence of its usual weights."""

    job: str
    licence: str
    size: tuple[int, int] = (256, 128)


NETWORKS = {
    "resnet50": Choice(
        "the network of the published figures; start here", "BSD-3-Clause (`tv_in1k`), Apache-2.0 (`a1_in1k`)"
    ),
    "resnet50_ibn_a": Choice("people across cameras, data sets and light", "MIT (IBN-Net)"),
    "osnet_x1_0": Choice("people on small machines", "MIT (torchreid)"),
    "osnet_ain_x1_0": Choice("people in data sets that it was not trained on", "MIT (torchreid)"),
    "mobilenetv2_100": Choice("small machines; first trials on a CPU", "Apache-2.0 (timm)"),
    "tf_efficientnet_lite0": Choice("small machines; pixels of mean and deviation 0.5", "Apache-2.0 (TensorFlow)"),
    "vit_small_patch16_224": Choice("transformers, as TransReID trains them", "Apache-2.0 (`augreg`)"),
    "vit_small_patch14_dinov2": Choice(
        "images of any kind, pretrained without labels", "Apache-2.0 (DINOv2)", (252, 126)
    ),
    "swin_tiny_patch4_window7_224": Choice(
        "animals: MegaDescriptor-T is this network", "MIT (Swin); MegaDescriptor: CC BY-NC 4.0", (224, 224)
    ),
    "convnext_tiny": Choice("a modern convolutional network", "MIT (Meta); Apache-2.0 (`in12k`)"),
}

HEAD = """# Networks

Any network in timm, and any that is [registered](extending.md#a-backbone), can be the backbone of any method
(`method.backbone.name`), and can embed without training (`--backbone`). Its weights are `imagenet`, which means timm's
weights for that name, or a file of yours. Mean, standard deviation and interpolation of the pixels follow the weights.

## Without training

Training must beat the network with its published weights, and for some jobs these may be enough. Use `--backbone`
instead of a run:

```bash
crossreid embed --backbone mobilenetv2_100 --weights weights/mobilenetv2_100.safetensors data/crops --out embeddings/untouched
crossreid gallery add galleries/untouched embeddings/untouched
crossreid gallery search galleries/untouched photo.jpg
crossreid evaluate --backbone mobilenetv2_100 --weights weights/mobilenetv2_100.safetensors --data manifest --root data/mine
crossreid export --backbone mobilenetv2_100 --weights weights/mobilenetv2_100.safetensors --size 224x224 --out untouched.onnx
crossreid serve --backbone mobilenetv2_100 --weights weights/mobilenetv2_100.safetensors galleries/untouched --insecure
```

`--size HxW` is the size of the input (256x128 by default); `--flip` embeds the mirror image too. Without `--weights`,
timm downloads the weights. An embedding has length 1. It is the mean of the last feature map, or the class token if
timm's network of that name pools that way (ViT, CLIP, DINO). A gallery accepts only embeddings made with the same
weights, pixels and flip. Galleries, exported files, the service and tables of scores label such a model "pretrained,
not trained here". In Python:

```python
from crossreid import PretrainedNetwork, evaluate_pretrained, open_model

network = PretrainedNetwork("mobilenetv2_100", weights="weights/mobilenetv2_100.safetensors", height=128, width=64)
print(open_model(network).fingerprint[:12])
print(evaluate_pretrained(network, "manifest", "data/mine")[0])
```

If a recipe starts from weights, the run's report has that row too: its own backbone, without what the recipe adds to
it. So do tables of studies, `crossreid views ... --untrained` and `crossreid probe ... --untrained`.
"""


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Parameters, embedding size, images per second on one core, and memory of one network, in this process."""
    import torch

    from crossreid.inference.fusing import fused
    from crossreid.runs.pretrained import pretrained_network

    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = _peak()
    height, width = NETWORKS[name].size
    network = pretrained_network(_options(name, height, width))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    network.to(memory_format=torch.channels_last)
    network = fused(network, height, width)
    images = torch.randn(BATCH, 3, height, width).to(memory_format=torch.channels_last)
    modalities = torch.zeros(BATCH, dtype=torch.int64)
    seconds = []
    with torch.inference_mode():
        dimension = network.embed(images[:2], modalities[:2]).shape[1]
        for _ in range(rounds + 1):
            start = time.process_time()
            network.embed(images, modalities)
            seconds.append(time.process_time() - start)
    return {
        "parameters": parameters,
        "dimension": dimension,
        "size": [height, width],
        "images_per_second": round(BATCH / min(seconds[1:]), 1),
        "rounds": [round(BATCH / each, 1) for each in seconds[1:]],
        "memory_mib": round(_peak() - before),
    }


def _options(name: str, height: int, width: int) -> Any:
    """Random weights, for that input size if the network is built for one."""
    from crossreid.runs.recipe import make_recipe

    given = {"name": name, "weights": "none", "last_stride_one": False}
    data = {"name": "manifest", "root": ".", "height": height, "width": width}
    return make_recipe({"data": data, "method": {"name": "baseline", "backbone": given}}).method.encoder


def _peak() -> float:
    """The most memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def known(name: str) -> bool:
    """Whether this version knows the network."""
    import timm

    from crossreid.models.backbone_registry import BACKBONES

    return name in BACKBONES or timm.is_model(name)


def score(weights: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Scores of one network on either set of photographs, beside random weights and raw pixels: rank-1, mAP, mINP."""
    import cattle
    import nyala
    from crossreid.runs.floors import floors
    from crossreid.runs.named_network import PretrainedNetwork
    from crossreid.runs.pretrained import network_recipe
    from crossreid.runs.run import open_split

    found: dict[str, Any] = {}
    tests: dict[str, tuple[tuple[int, int], Path, dict[str, Any]]] = {}
    if given.cattle:
        size = (136, 80)
        manifest, _ = cattle.write_manifest(given.cattle, given.out / "cattle", size, validation=True)
        tests["cattle, validation cows, night to day, 136x80"] = (size, manifest, {})
    if given.nyala:
        manifest = nyala.write_manifest(given.nyala, given.out / "nyala")
        options = {"leave_out": "same camera"}
        tests["nyala, test flanks, other sightings, 128x160"] = ((128, 160), manifest, options)
        infrared = options | {"pseudo_infrared": "query"}
        tests["nyala, pseudo-infrared to visible, 128x160"] = ((128, 160), manifest, infrared)
    for title, (size, manifest, options) in tests.items():
        network = PretrainedNetwork(weights.stem, str(weights), *size)
        recipe = network_recipe(network, {"root": str(manifest), "options": options})
        split = open_split(recipe)
        for row, (_, scores) in floors(split, recipe, say=print).items():
            first = scores[0]
            figures = {"rank-1": first.rank(1), "mAP": first.mAP, "mINP": first.mINP, "queries": first.valid_queries}
            found.setdefault(title, {"chance": first.chance_rank1})[row] = figures
            print(title, weights.stem, row, figures, flush=True)
    return found


def page(results: dict[str, Any]) -> str:
    """The page of what was measured."""
    machine = results["machine"]
    lines = [
        HEAD,
        "## Which network for which job",
        "",
        "| network | job | input | parameters | embedding | images per second per core | memory, MiB | measured | "
        "licence of the usual weights |",
        "|---|---|---|---:|---:|---:|---:|---|---|",
    ]
    for name, choice in NETWORKS.items():
        found = results["networks"].get(name)
        size = f"{choice.size[0]}x{choice.size[1]}"
        cells = ["–"] * 5
        if found:
            millions = f"{found['parameters'] / 1e6:.1f} M"
            speed = f"{found['images_per_second']:.0f}"
            cells = [millions, found["dimension"], speed, found["memory_mib"], found["date"].split()[0]]
        lines.append(f"| `{name}` | {choice.job} | {size} | {' | '.join(map(str, cells))} | {choice.licence} |")
    lines += [
        "",
        _filled(
            f"Batches of {BATCH} prepared images in float32, batch norms folded, one thread of {machine['processor']} "
            f"({machine['cores']} cores), PyTorch {machine['torch']}. Images per second of processor time, the fastest "
            f"of {machine['rounds']} rounds, as other work shared the machine; rounds of one network differed by up to "
            f"{100 * _differ(results):.0f} %. Memory is the growth of the process beyond PyTorch itself. Reading images "
            "is not included. Licences are those stated by the authors of the weights, and were not checked here; read "
            "them before you serve anything. Jobs are what the authors of the networks made them for; what was measured "
            "here is below."
        ),
        "",
        "## What they find untrained",
        "",
    ]
    titles = list(dict.fromkeys(title for each in results["scores"].values() for title in each))
    lines += [
        _filled(
            "Rank-1 / mAP in percent, on photographs of animals, by cosine distance, not re-ranked; no row was trained on "
            "any of them."
        ),
        "",
        f"| network | {' | '.join(titles)} |",
        f"|---|{'---:|' * len(titles)}",
    ]
    for name, each in results["scores"].items():
        rows = list(dict.fromkeys(row for found in each.values() for row in found if row != "chance"))
        for row in rows:
            cells = [
                f"{100 * each[title][row]['rank-1']:.1f} / {100 * each[title][row]['mAP']:.1f}"
                if title in each
                else "–"
                for title in titles
            ]
            lines.append(f"| `{name}`, {row.lower()} | {' | '.join(cells)} |")
    first = next(iter(results["scores"].values()), {})
    chances = [f"{100 * first[title]['chance']:.1f}" for title in titles]
    lines += [
        f"| chance, rank-1 | {' | '.join(chances)} |",
        "",
        _filled(
            "The weights are timm's, trained on ImageNet. On the cows, raw pixels have the highest rank-1 but not "
            "the highest mAP; the reason was not examined."
        ),
        "",
        _filled(
            f"Scored {results.get('scored', machine['date'])}. Commands: `python benchmarks/networks.py --json "
            "benchmarks/results/networks_cpu.json`, with `--weights`, `--cattle`, `--nyala` and `--out` for the scores, "
            "then `--write`."
        ),
        "",
    ]
    return "\n".join(lines)


def _filled(paragraph: str) -> str:
    """The paragraph in lines of at most 120 columns."""
    return textwrap.fill(paragraph, 120, break_long_words=False, break_on_hyphens=False)


def _differ(results: dict[str, Any]) -> float:
    """The largest share by which the slowest round of a network was slower than its fastest."""
    return max(1 - min(found["rounds"]) / max(found["rounds"]) for found in results["networks"].values())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cattle", type=Path)
    parser.add_argument("--nyala", type=Path)
    parser.add_argument("--out", type=Path, help="folder for downscaled copies and manifests")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="write docs/networks.md from the results")
    parser.add_argument("--one", choices=NETWORKS, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(given.one, given.rounds)))
        return
    if given.write:
        PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
        return
    if (given.cattle or given.nyala) and not (given.weights and given.out):
        parser.error("scoring photographs needs --weights FOLDER, and --out for their copies")
    from machine import machine

    kept = json.loads(given.json.read_text(encoding="utf-8")) if given.json and given.json.is_file() else {}
    facts = machine() | {"rounds": given.rounds}
    if other := [
        key for key in SAME if key in kept.get("machine", facts) and kept.get("machine", facts)[key] != facts[key]
    ]:
        parser.error(f"{given.json} was measured with a different {', '.join(other)}: pass another --json")
    results = {"machine": facts, "networks": kept.get("networks", {}), "scores": kept.get("scores", {})}
    results["scored"] = facts["date"] if given.weights else kept.get("scored", facts["date"])
    for name in filter(known, given.networks):
        command = [sys.executable, __file__, "--one", name, "--rounds", given.rounds]
        done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
        results["networks"][name] = json.loads(done.stdout.splitlines()[-1]) | {"date": facts["date"]}
        print(name, results["networks"][name], flush=True)
        keep(results, given.json)
    for weights in sorted(given.weights.glob("*.safetensors")) if given.weights else ():
        results["scores"][weights.stem] = score(weights, given)
        keep(results, given.json)


def keep(results: dict[str, Any], path: Path | None) -> None:
    """Write the results so far."""
    if path is not None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
