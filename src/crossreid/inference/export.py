"""A run's network as one ONNX file, checked against torch before it is there under its name."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import crossreid
from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration_files import to_json
from crossreid.files import remove_leftovers, replacing
from crossreid.inference.agreement import largest_difference, sample_images
from crossreid.inference.exported_file import FORMAT, INPUTS, KEY, OUTPUTS, facts_digest, graph_digest, is_exported
from crossreid.inference.exporter_output import kept_in_log
from crossreid.inference.fixed_size import fixed_size
from crossreid.inference.modality_branches import exportable
from crossreid.inference.onnx_model import OnnxModel
from crossreid.inference.open_model import open_model
from crossreid.inference.torch_model import TorchModel
from crossreid.models.lora import merged
from crossreid.runs.folders import weights_folder
from crossreid.runs.named_network import PretrainedNetwork, pretrained_at
from crossreid.runs.starting import read_start, start_in_words

OPSET = 18
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Exported:
    """The file, D, the largest difference from torch in any value of any embedding, and on how many images.

    `trained` says how much of its training the run has had, where that is not all of it.
    """

    path: Path
    dimension: int
    difference: float
    images: int
    trained: str = ""


def export_onnx(
    run: Path | PretrainedNetwork, out: Path | None = None, *, checkpoint: str = "best", tolerance: float = TOLERANCE
) -> Exported:
    """Write the network of a run to `out`, RUN/model.onnx by default; one that was not trained here to `out`, NAME.onnx by default.

    Inputs `images (B, 3, H, W)` float32, prepared as the metadata says, and `modalities (B,)` int64; outputs `embeddings
    (B, D)`, L2-normalised, with the mirror image's where the recipe's evaluation says so, and `features (B, D)`, what is
    averaged over a tracklet. The metadata are those of `exported_file`.

    Raises:
        CrossreidError: ONNX has no operator for a layer (what the exporter printed is then in `out`.log), an output differs from
            torch's by more than `tolerance` (no file is written), `out` does not end in .onnx or is a folder, or the extra
            `export` is not installed.
    """
    _require_onnx()
    named = run if isinstance(run, PretrainedNetwork) else pretrained_at(run)
    if named is not None:
        run, out = named.path, Path(out or f"{named.name.rpartition('/')[2]}.onnx")
    assert not isinstance(run, PretrainedNetwork)
    if is_exported(Path(run)):
        raise CrossreidError(f"{run} is an exported file already. Expected the folder of a run.")
    if out is not None:
        _refuse_name(Path(out))
    # Not fused: what it is compared with is the network as it was trained.
    model = open_model(run, checkpoint=checkpoint, device="cpu", fuse=False)
    assert isinstance(model, TorchModel)
    out = Path(out) if out is not None else model.source / "model.onnx"
    _refuse_name(out)
    remove_leftovers(out)
    with replacing(out, durable=True) as temporary:
        _write(model, temporary, out.with_name(f"{out.name}.log"))
        images, modalities = sample_images(model)
        difference = largest_difference(model, OnnxModel(temporary, torch.device("cpu")), images, modalities)
        if not difference <= tolerance:
            raise CrossreidError(
                f"{run}: the exported network differs from torch's by {difference:.2e}, more than {tolerance:.0e}. "
                "Nothing was written. A layer computes another thing there; see which by exporting a smaller network."
            )
    return Exported(out, model.dimension, difference, len(images), model.trained)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise CrossreidError("exporting needs onnx and onnxruntime: pip install 'crossreid[export]'.") from error


def _refuse_name(out: Path) -> None:
    """Raise `CrossreidError` for a file that could not be opened under its name, or one that cannot be written."""
    if out.is_dir():
        raise CrossreidError(f"{out} is a folder. Expected the name of a file, {out / 'model.onnx'} for example.")
    if not is_exported(out):
        raise CrossreidError(
            f"{out} does not end in .onnx, by which an exported file is told from a run. Expected {out.name}.onnx, for example."
        )


def _write(model: TorchModel, path: Path, log: Path) -> None:
    graph = _graph(model, path, log)
    facts = {
        "format": FORMAT,
        "fingerprint": model.fingerprint,
        "method": model.method,
        "dimension": model.dimension,
        "flip": model.flip,
        "preprocessing": model.preprocessing.to_json(),
        "version": crossreid.__version__,
        "graph": graph_digest(graph),
        **({"trained": model.trained} if model.trained else {}),
        **({"calibration": to_json(model.calibration, measures=False)} if model.calibration else {}),
        **({"start": start_in_words(start)} if (start := read_start(weights_folder(model.source))) else {}),
    }
    facts["facts"] = facts_digest(facts)
    import onnx

    metadata = onnx.ModelProto()
    onnx.helper.set_model_props(metadata, {KEY: json.dumps(facts, sort_keys=True)})
    # Two messages one after the other are one with the fields of both; so the graph's bytes stay those of the digest.
    path.write_bytes(graph + metadata.SerializeToString())


def _graph(model: TorchModel, path: Path, log: Path) -> bytes:
    """The network as ONNX, without metadata; torch's exporter writes it to `path` first, and to `log` where it fails."""
    import onnx

    seen = model.preprocessing
    images = torch.randn(2, 3, seen.height, seen.width, generator=torch.Generator().manual_seed(0))
    modalities = torch.tensor([int(Modality.VISIBLE), int(Modality.INFRARED)])
    try:
        with kept_in_log(log), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of what is fixed while tracing: here modality, on purpose
            network = exportable(merged(model.network), images, modalities, flip=model.flip)
            with fixed_size(network, images, modalities):
                torch.onnx.export(network, **_arguments(images, modalities, path))
    except OSError:  # no fault of the network: a full disk, say
        raise
    except Exception as error:  # torch's exporter raises what it comes across
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CrossreidError(
            f"{model.source}: the network of {model.method} cannot be written as ONNX ({type(error).__name__}: {reason[:300]}). "
            f"Serve the run itself, or train one without that layer. What the exporter printed: {log}"
        ) from error
    written = onnx.load(str(path))
    if len(written.graph.input) == 1:  # the exporter drops what nothing is computed from; callers give it all the same
        unused = onnx.helper.make_tensor_value_info("modalities", onnx.TensorProto.INT64, ["batch"])
        written.graph.input.append(unused)
    for output in written.graph.output:  # of networks of windows, among others, the exporter does not find it out
        output.type.tensor_type.shape.dim[1].dim_value = model.dimension
    onnx.checker.check_model(written)
    content: bytes = written.SerializeToString()
    return content


def _arguments(images: Tensor, modalities: Tensor, path: Path) -> dict[str, Any]:
    names = [*INPUTS, *OUTPUTS]
    return {
        "args": (images, modalities),
        "f": str(path),
        "input_names": [*INPUTS],
        "output_names": [*OUTPUTS],
        "dynamic_axes": {name: {0: "batch"} for name in names},
        "opset_version": OPSET,
        "dynamo": False,  # the newer exporter refuses masks of sizes that depend on the data
    }
