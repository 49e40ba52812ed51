"""A torch run's network as a MindSpore checkpoint, compared with torch before it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from crossreid.errors import CrossreidError
from crossreid.files import remove_leftovers, replacing
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.agreement import largest_difference, sample_images
from crossreid.inference.exporting.exported import Exported
from crossreid.inference.open_model import open_model
from crossreid.mindspore.devices import use_device
from crossreid.mindspore.limits import refuse_network, require_mindspore
from crossreid.mindspore.training import classes_of
from crossreid.runs.progress import unfinished
from crossreid.runs.stored_run import network_of, read_run

TOLERANCE = 1e-4


def export_mindspore(
    run: Path, out: Path | None = None, *, checkpoint: str = "best", tolerance: float = TOLERANCE
) -> Exported:
    """Write the network of a run to `out`, RUN/model.ckpt by default, as MindSpore's own checkpoint.

    The file is read back into a new network, which embeds rendered people of both modalities in batches of 1, 3, 8 and all.

    Raises:
        CrossreidError: the run's method is another than variational distillation, or its network is one that MindSpore does
            not have here; an embedding differs from torch's by more than `tolerance` (no file is written); `out` does not end in
            .ckpt or is a folder; or the extra `mindspore` is not installed.
    """
    require_mindspore()
    out = None if out is None else Path(out)
    if out is not None and (out.suffix != ".ckpt" or out.is_dir()):
        raise CrossreidError(f"--out {out}: expected a file that ends in .ckpt.")
    stored = read_run(Path(run), checkpoint)
    refuse_network(stored.recipe, "--to mindspore")
    use_device("cpu")
    from crossreid.mindspore.checkpoints import load_parameters, read_checkpoint, save_cell
    from crossreid.mindspore.network import CellNetwork
    from crossreid.mindspore.weights import build, load_torch

    network: Any = network_of(stored)
    classes = classes_of(network)
    cell = build(stored.recipe, classes)
    load_torch(cell, {name: tensor.numpy() for name, tensor in network.state_dict().items()})
    model = open_model(stored.folder, checkpoint=checkpoint, device="cpu", fuse=False)
    facts: dict[str, Any] = {
        "method": model.method,
        "fingerprint": model.fingerprint,
        "dimension": model.dimension,
        "trained": unfinished(stored.folder),
    }
    path = out or stored.folder / "model.ckpt"
    remove_leftovers(path)
    images, modalities = sample_images(model)
    with replacing(path, durable=True) as temporary:
        save_cell(temporary, cell, stored.recipe, classes, facts)
        again = build(stored.recipe, classes)
        load_parameters(again, read_checkpoint(temporary)[0], temporary)
        theirs: Any = CellNetwork(again)
        seen = model.preprocessing
        other = TorchModel(path, theirs, model.method, seen, model.fingerprint, model.flip, torch.device("cpu"))
        difference = largest_difference(model, other, images, modalities)
        if not difference <= tolerance:
            raise CrossreidError(
                f"{path}: its embeddings differ from torch's by {difference:.1e}, expected at most {tolerance:.1e}. No file is "
                "written."
            )
    return Exported(path, model.dimension, difference, len(images), facts["trained"])
