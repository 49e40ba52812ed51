"""The three divergences of variational distillation in trained networks, whether they were minimised or not.

    python benchmarks/sufficiency.py studies/vd/all-vd studies/vd/terms-none [--json FILE]

Measured on the training images (classifiers know no other identities), without augmentation: cross-entropy of P_v and
P_z, and VSD, VCD, VML in nats, each averaged over the branches and streams on which it is defined; mean and deviation
over seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from crossreid.data.evaluation_loading import evaluation_batches
from crossreid.data.records import Modality, labels_of
from crossreid.losses.distillation import js_divergence, kl_divergence
from crossreid.runs.folders import seeds_of, titles_of
from crossreid.runs.run import Run, open_run

FIGURES = ("cross-entropy of v", "cross-entropy of z", "VSD", "VCD", "VML")
PAIRS = 4096  # of one identity across modalities, drawn; all of them would be millions


@torch.inference_mode()
def figures_of(run: Run) -> dict[str, float]:
    """The figures of one run of a three-branch method."""
    labels_by = labels_of(run.split.train)
    labels = torch.tensor([labels_by[record.identity] for record in run.split.train])
    modalities = torch.tensor([int(record.modality) for record in run.split.train])
    logits: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    size = {"height": run.recipe.data.height, "width": run.recipe.data.width}
    device = next(run.method.parameters()).device
    torch.manual_seed(0)
    for images, kinds in evaluation_batches(run.split.train, **size):
        passes = run.method._pass(images.to(device), kinds.to(device), lambda branch, rows: branch(rows))
        for name, parts in passes.items():
            logits.setdefault(name, []).append((parts[2].cpu(), parts[3].cpu()))
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    infrared = modalities == Modality.INFRARED
    one, two = pairs(labels, infrared)
    for name, parts in logits.items():
        v, z = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        found["cross-entropy of v"].append(F.cross_entropy(v, labels).item())
        found["cross-entropy of z"].append(F.cross_entropy(z, labels).item())
        if name == "specific":
            found["VSD"] += [kl_divergence(v[rows], z[rows]).item() for rows in (infrared, ~infrared)]
        else:
            found["VCD"] += [kl_divergence(v[two], z[one]).item(), kl_divergence(v[one], z[two]).item()]
            found["VML"].append(js_divergence(z[one], z[two]).item())
    return {name: float(np.mean(values)) for name, values in found.items() if values}


def pairs(labels: torch.Tensor, infrared: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a visible and of an infrared image of one identity, each `(PAIRS,)`."""
    generator = torch.Generator().manual_seed(0)
    ones, twos = [], []
    for label in labels.unique():
        visible = ((labels == label) & ~infrared).nonzero().flatten()
        other = ((labels == label) & infrared).nonzero().flatten()
        count = PAIRS // len(labels.unique()) + 1
        ones.append(visible[torch.randint(len(visible), (count,), generator=generator)])
        twos.append(other[torch.randint(len(other), (count,), generator=generator)])
    return torch.cat(ones), torch.cat(twos)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    table = {}
    print(f"| | {' | '.join(FIGURES)} |\n|{'---|' * (len(FIGURES) + 1)}")
    for folder, title in titles_of(given.runs).items():
        each = [figures_of(open_run(run)) for run in seeds_of(folder)]
        table[title] = each
        cells = []
        for name in FIGURES:
            values = np.array([figures[name] for figures in each if name in figures])
            cells.append(
                "" if not len(values) else f"{values.mean():.3f} ± {values.std(ddof=1) if len(values) > 1 else 0:.3f}"
            )
        print(f"| {title} | {' | '.join(cells)} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
