"""A network for raw pixels of one modality: for pipelines that scale all channels alike and pass a single tensor.

DeepStream computes `net-scale-factor * (x - offset)`: an offset per channel, but one scale for all, which cannot
express a standard deviation per channel. Here the network starts with `(x / 255 - mean) / std`, as one product and one
difference, and the modality is fixed, so the other one's branch is absent.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from crossreid.data.records import Modality
from crossreid.errors import CrossreidError
from crossreid.inference.engines.onnx_session import session_of
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.exporting.exporter_output import kept_in_log
from crossreid.inference.exporting.fixed_size import fixed_size
from crossreid.inference.exporting.modality_branches import OneModality, uses_modality
from crossreid.models.lora import merged
from crossreid.runs.preprocessing import Preprocessing

OPSET = 18
INPUT, OUTPUT = "images", "embeddings"


class PixelNetwork(nn.Module):
    """From `(B, 3, H, W)` float32 RGB, 0 to 255, to `(B, D)` embeddings of length 1, all of one modality."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, seen: Preprocessing, modality: Modality, flip: bool) -> None:
        super().__init__()
        self.network = OneModality(network, modality, flip)
        mean, std = (torch.tensor(each, dtype=torch.float64).view(1, 3, 1, 1) for each in (seen.mean, seen.std))
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (mean / std).float())

    def forward(self, pixels: Tensor) -> Tensor:
        images = pixels * self.scale - self.shift
        kinds = torch.zeros(pixels.shape[0], dtype=torch.int64)  # any value: the network's modality is fixed
        embeddings: Tensor = self.network(images, kinds)[0]
        return embeddings


def depends_on_modality(model: TorchModel) -> bool:
    """Whether a visible and an infrared image of the same pixels have different embeddings."""
    seen = model.preprocessing
    images = torch.zeros(2, 3, seen.height, seen.width)
    one = OneModality(model.network, None, model.flip).eval()
    with torch.no_grad():
        return uses_modality(one, images, torch.tensor([0, 1]))


def write_pixel_onnx(model: TorchModel, modality: Modality, path: Path, log: Path) -> None:
    """Write the network for pixels of one modality as ONNX, for batches of any size.

    If the exporter fails, its output is kept in `log`.

    Raises:
        CrossreidError: ONNX has no operator for a layer.
    """
    seen = model.preprocessing
    network = PixelNetwork(merged(model.network), seen, modality, model.flip).eval()
    pixels = 255 * torch.rand(2, 3, seen.height, seen.width, generator=torch.Generator().manual_seed(0))
    try:
        with kept_in_log(log), warnings.catch_warnings(), torch.no_grad(), fixed_size(network, pixels):
            warnings.simplefilter("ignore")  # about values fixed while tracing: modality and size, on purpose
            torch.onnx.export(
                network, (pixels,), str(path), input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET,
                dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}, dynamo=False,
            )  # fmt: skip
    except OSError:
        raise
    except Exception as error:  # torch's exporter raises errors of many types
        raise CrossreidError(
            f"{model.source}: the network of {model.method} cannot be written as ONNX ({type(error).__name__}: "
            f"{str(error)[:300]}). What the exporter printed: {log}"
        ) from error
    import onnx

    written = onnx.load(str(path))
    written.graph.output[0].type.tensor_type.shape.dim[1].dim_value = model.dimension
    onnx.checker.check_model(written)
    path.write_bytes(written.SerializeToString())


def pixel_difference(model: TorchModel, modality: Modality, path: Path) -> float:
    """Return the largest difference from torch in any value of the embeddings of rendered people, as 8-bit pixels."""
    from crossreid.inference.exporting.agreement import sample_images

    seen = model.preprocessing
    images, _ = sample_images(model)
    pixels = (255 * seen.normalisation.raw(images)).round().clamp(0, 255)
    session = session_of(
        path.read_bytes(),
        path,
        torch.device("cpu"),
        lambda reason: CrossreidError(f"{path} cannot be opened ({reason})."),
    )
    kinds = torch.full((len(pixels),), int(modality))
    expected = model.embed(seen.normalisation.of_raw(pixels / 255), kinds)
    worst = 0.0
    for size in (1, len(pixels)):
        (found,) = session.run([OUTPUT], {INPUT: pixels[:size].numpy()})
        worst = max(worst, float((torch.from_numpy(found) - expected[:size]).abs().max()))
    return worst
