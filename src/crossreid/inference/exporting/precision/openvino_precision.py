"""OpenVINO networks in fp16 and int8: weights stored in half precision, or quantised with activations by NNCF.

In fp16 only weights are stored; a CPU computes with them in float32, a GPU in fp16. int8 is NNCF's post-training
quantisation with bias correction, and 7-bit weights for the reason given in `onnx_int8`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.extras import needed
from crossreid.inference.engines.openvino_runtime import leave_telemetry_out
from crossreid.inference.exporting.precision.range_images import RangeImages
from crossreid.quiet import without_warnings

ATTENTION = ("Softmax", "ScaledDotProductAttention")


def openvino_in_fp16(float32: Path, out: Path) -> None:
    """Write the network with its weights in fp16."""
    leave_telemetry_out()
    import openvino

    openvino.save_model(openvino.Core().read_model(float32), str(out), compress_to_fp16=True)


def openvino_in_int8(
    float32: Path, images: RangeImages, out: Path, *, advance: Callable[[int], object] | None = None
) -> None:
    """Write the network in int8, with NNCF's transformer rules if it has attention. The same images give the same file.

    Args:
        advance: called with the number of images in each measured batch.

    Raises:
        CrossreidError: NNCF is not installed.
    """
    leave_telemetry_out()
    import openvino

    with without_warnings():
        nncf = needed("nncf", "int8 for OpenVINO")
    from nncf.quantization.advanced_parameters import OverflowFix

    network = openvino.Core().read_model(float32)
    attends = any(each.get_type_name() in ATTENTION for each in network.get_ops())
    batches = list(images.batches())
    with redirect_stdout(io.StringIO()), without_warnings():  # hides its progress bars in favour of ours
        made = nncf.quantize(
            network, nncf.Dataset(_Passes(batches, advance)), subset_size=len(batches),
            preset=nncf.QuantizationPreset.MIXED, model_type=nncf.ModelType.TRANSFORMER if attends else None,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=OverflowFix.ENABLE, batchwise_statistics=images.batch > 1
            ),
        )  # fmt: skip
    _name_by_place(made)
    openvino.save_model(made, str(out), compress_to_fp16=False)


def _name_by_place(network: Any) -> None:
    """Name layers by position: OpenVINO's own names come from a process-wide counter, and would change fingerprints."""
    network.set_friendly_name("network")
    for place, layer in enumerate(network.get_ordered_ops()):
        kind = layer.get_type_name()
        if kind not in ("Parameter", "Result"):
            layer.set_friendly_name(f"{kind}_{place}")
    for place, result in enumerate(network.get_results()):
        result.set_friendly_name(f"Result_{place}")


class _Passes:
    """Batches for repeated iteration; `advance` is called for each on the first pass only."""

    def __init__(self, batches: list[dict[str, np.ndarray]], advance: Callable[[int], object] | None) -> None:
        self.batches, self.advance, self.told = batches, advance, 0

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]:
        for place, batch in enumerate(self.batches):
            yield batch
            if place == self.told:
                self.told += 1
                if self.advance is not None:
                    self.advance(len(batch["images"]))
