"""A run's network as one ONNX file, checked against torch before it is there under its name.

A method may send each image through the branch of its modality, with masks whose sizes depend on the data. The file holds
the network once for each modality, all images through both, and takes each image's row from its own: right for every
mixture and size of batch, and what both share is computed once by the runtime. A network that pays no heed to modality is
there once.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

import crossreid
from crossreid.data.images import load_image
from crossreid.data.records import Modality, Record
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.files import remove_leftovers, replacing
from crossreid.inference.model import SearchModel, TorchModel, is_exported, open_model
from crossreid.inference.onnx_model import FORMAT, INPUTS, KEY, OUTPUTS, OnnxModel, graph_digest
from crossreid.inference.sources import source_records

OPSET = 18
TOLERANCE = 1e-4
BATCHES = (1, 3, 8)


@dataclass(frozen=True, slots=True)
class Exported:
    """The file, D, the largest difference from torch in any value of any embedding, and on how many images."""

    path: Path
    dimension: int
    difference: float
    images: int


def export_onnx(
    run: Path, out: Path | None = None, *, checkpoint: str = "best", tolerance: float = TOLERANCE
) -> Exported:
    """Write the network of a run to `out`, RUN/model.onnx by default.

    Inputs `images (B, 3, H, W)` float32, prepared as the metadata says, and `modalities (B,)` int64; outputs `embeddings
    (B, D)`, L2-normalised, with the mirror image's where the recipe's evaluation says so, and `features (B, D)`, what is
    averaged over a tracklet. The metadata's entry `crossreid` is JSON: format, fingerprint, method, dimension, flip, preprocessing,
    and graph, the SHA-256 of all else in the file.

    Raises:
        CrossreidError: a layer that ONNX has no words for, an output that differs from torch's by more than `tolerance` (no file
            is written), an `out` that does not end in .onnx or is a folder, or the extra `export` is not installed.
    """
    _require_onnx()
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
        _write(model, temporary)
        images, modalities = sample_images(model)
        difference = largest_difference(model, OnnxModel(temporary, torch.device("cpu")), images, modalities)
        if not difference <= tolerance:
            raise CrossreidError(
                f"{run}: the exported network differs from torch's by {difference:.2e}, more than {tolerance:.0e}. "
                "Nothing was written. A layer computes another thing there; see which by exporting a smaller network."
            )
    return Exported(out, model.dimension, difference, len(images))


def _refuse_name(out: Path) -> None:
    """Raises `CrossreidError` for a file that could not be opened under its name, or one that cannot be written."""
    if out.is_dir():
        raise CrossreidError(f"{out} is a folder. Expected the name of a file, {out / 'model.onnx'} for example.")
    if not is_exported(out):
        raise CrossreidError(
            f"{out} does not end in .onnx, by which an exported file is told from a run. Expected {out.name}.onnx, for example."
        )


def sample_images(model: SearchModel) -> tuple[Tensor, Tensor]:
    """Rendered people as two visible and two infrared cameras or more see them, prepared: `(B, 3, H, W)`, `(B,)`."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder) / "world"
        synthesise(world, "manifest", 4, 0, images_per_camera=1, size=(128, 64), workers=1)
        records = source_records(str(world))
        return prepared(model, records)


def prepared(model: SearchModel, records: list[Record]) -> tuple[Tensor, Tensor]:
    """The images of records as the model takes them, and their modalities."""
    size = (model.preprocessing.height, model.preprocessing.width)
    images = torch.stack([model.transform(load_image(record, at_least=size)) for record in records])
    return images, torch.tensor([int(record.modality) for record in records])


def largest_difference(model: SearchModel, other: SearchModel, images: Tensor, modalities: Tensor) -> float:
    """Between two models' embeddings and features (these relative to their length), in batches of several sizes."""
    worst = 0.0
    starts = [(size, first) for size in (*BATCHES, len(images)) for first in range(0, len(images), size)]
    for size, first in starts:
        part, kinds = images[first : first + size], modalities[first : first + size]
        pairs = [(model.embed(part, kinds), other.embed(part, kinds))]
        ours, theirs = model.features(part, kinds), other.features(part, kinds)
        length = ours.norm(dim=1, keepdim=True).clamp(min=1e-12)
        pairs.append((ours / length, theirs / length))
        for mine, yours in pairs:
            difference = float((mine - yours).abs().max())
            worst = max(worst, difference if difference == difference else float("inf"))
    return worst


class _OneModality(nn.Module):
    """The network for images of one modality, or for any where `modality` is None: images to embeddings and features."""

    def __init__(self, network: nn.Module, modality: Modality | None, flip: bool) -> None:
        super().__init__()
        self.network, self.modality, self.flip = network, modality, flip

    def forward(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        kinds = modalities if self.modality is None else torch.full_like(modalities, int(self.modality))
        features = self.network.features(images, kinds)  # type: ignore[operator]
        if not self.flip:
            return normalize(features, dim=1), features
        # The network once an image: what `embed` says of it is compared with this before the file is there.
        mirrored = self.network.features(images.flip(3), kinds)  # type: ignore[operator]
        both = normalize(features, dim=1) + normalize(mirrored, dim=1)
        return normalize(both, dim=1), (features + mirrored) / 2


class _EitherModality(nn.Module):
    """Both, and of each image the rows of its own."""

    def __init__(self, network: nn.Module, flip: bool) -> None:
        super().__init__()
        self.visible = _OneModality(network, Modality.VISIBLE, flip)
        self.infrared = _OneModality(network, Modality.INFRARED, flip)

    def forward(self, images: Tensor, modalities: Tensor) -> tuple[Tensor, Tensor]:
        infrared = (modalities == int(Modality.INFRARED))[:, None]
        pairs = zip(self.infrared(images, modalities), self.visible(images, modalities), strict=True)
        embeddings, features = (torch.where(infrared, one, other) for one, other in pairs)
        return embeddings, features


def _write(model: TorchModel, path: Path) -> None:
    import onnx

    seen = model.preprocessing
    images = torch.randn(2, 3, seen.height, seen.width, generator=torch.Generator().manual_seed(0))
    modalities = torch.tensor([int(Modality.VISIBLE), int(Modality.INFRARED)])
    with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")  # of what is fixed while tracing: here modality, on purpose
        # In evaluation mode, which the exporter leaves a module's parts in that it found the module in.
        network: nn.Module = _OneModality(model.network, None, model.flip).eval()
        try:
            if _heeds_modality(network, images, modalities):
                network = _EitherModality(model.network, model.flip).eval()
            torch.onnx.export(network, **_arguments(images, modalities, path))
        except Exception as error:  # torch's exporter raises what it comes across
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CrossreidError(
                f"{model.source}: the network of {model.method} cannot be written as ONNX ({type(error).__name__}: {reason}). "
                "Serve the run itself, or train one without that layer."
            ) from error
    written = onnx.load(str(path))
    if len(written.graph.input) == 1:  # the exporter drops what nothing is computed from; callers give it all the same
        unused = onnx.helper.make_tensor_value_info("modalities", onnx.TensorProto.INT64, ["batch"])
        written.graph.input.append(unused)
    onnx.checker.check_model(written)
    graph = written.SerializeToString()
    facts = {
        "format": FORMAT,
        "fingerprint": model.fingerprint,
        "method": model.method,
        "dimension": model.dimension,
        "flip": model.flip,
        "preprocessing": seen.to_json(),
        "version": crossreid.__version__,
        "graph": graph_digest(graph),
    }
    metadata = onnx.ModelProto()
    onnx.helper.set_model_props(metadata, {KEY: json.dumps(facts, sort_keys=True)})
    # Two messages one after the other are one with the fields of both; so the graph's bytes stay those of the digest.
    path.write_bytes(graph + metadata.SerializeToString())


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


def _heeds_modality(network: nn.Module, images: Tensor, modalities: Tensor) -> bool:
    """Whether anything is computed from the modalities."""
    with _Watched(modalities) as watched:
        network(images, modalities)
    return watched.used


class _Watched(TorchFunctionMode):
    """While it is active: whether torch is given a tensor to do anything with."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.tensor, self.used = tensor, False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.used |= any(given is self.tensor for given in tree_leaves((args, kwargs)))
        return func(*args, **(kwargs or {}))


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise CrossreidError("exporting needs onnx and onnxruntime: pip install 'crossreid[export]'.") from error
