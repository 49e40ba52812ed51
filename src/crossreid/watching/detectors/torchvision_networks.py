"""torchvision's detectors by name, with weights from a file: nothing is downloaded.

A file holds the network's state dict, `.pth` or `.safetensors`, as published by torchvision or saved by your own
training, for example of `fasterrcnn_mobilenet_v3_large_fpn`. The number of classes is read off the weights; with COCO's
91, classes have names, and people are detected by default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.watching.cameras import Camera
from crossreid.watching.detections import Detections
from crossreid.watching.detectors.detector_registry import DetectorSettings, register_detector, wanted_numbers
from crossreid.watching.frames import Frame

NAMES = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)
COCO = 91  # classes, including the background
# Layers whose rows are the classes, once or per anchor.
_CLASSIFIERS = (
    "box_predictor.cls_score.weight",
    "cls_logits.weight",
    "classification_head.module_list.0.weight",
    "classification_head.module_list.0.1.weight",
)


class TorchvisionDetector:
    """A torchvision detector with weights from a file; cameras with the same weights share the network.

    Raises:
        CrossreidError: no weights, weights that do not fit, or an unknown class.
    """

    def __init__(self, name: str, settings: DetectorSettings, camera: Camera) -> None:
        if settings.weights is None:
            raise CrossreidError(
                f"detector {name!r} needs weights: --weights FILE, a state dict as published by torchvision; nothing is "
                "downloaded. The detector `background` needs none."
            )
        self.network, names, self.device = _network(name, settings.weights, settings.device)
        self.numbers = wanted_numbers(settings.classes, names, ("person",), f"detector {name!r}")
        self.minimum_score = settings.minimum_score

    def detect(self, frame: Frame) -> Detections:
        import torch

        image = torch.from_numpy(frame.image).to(self.device).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            (found,) = self.network([image])
        boxes = found["boxes"].float().cpu().numpy().reshape(-1, 4)
        scores = found["scores"].float().cpu().numpy()
        labels = found["labels"].cpu().numpy()
        keep = (scores >= self.minimum_score) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        if self.numbers is not None:
            keep &= np.isin(labels, list(self.numbers))
        return Detections(boxes[keep], np.clip(scores[keep], 0, 1))


@lru_cache(4)
def _network(name: str, weights: Path, device_name: str | None) -> tuple[Any, dict[int, str], Any]:
    """A network in evaluation mode, its class names by number, and its device."""
    import torchvision

    from crossreid.inference.devices import device_of
    from crossreid.models.weight_files import read_state

    build = partial(torchvision.models.get_model, name, weights=None, weights_backbone=None)
    network, state, classes = _fitting(build, read_state(weights), f"detector {name!r}: {weights}")
    network.load_state_dict(state)
    device = device_of(device_name)
    categories = torchvision.models.get_model_weights(name).DEFAULT.meta["categories"]
    names = {number: text for number, text in enumerate(categories) if text not in ("__background__", "N/A")}
    return network.eval().to(device), names if classes == len(categories) else {}, device


def _fitting(build: Callable[..., Any], given: dict[str, Any], who: str) -> tuple[Any, dict[str, Any], int]:
    """The network for a state dict's number of classes, that state under the network's names, and the number."""
    network = build(num_classes=COCO)
    own = network.state_dict()
    known = next(iter(own))
    prefix = next((key.removesuffix(known) for key in given if key.endswith(known)), "")
    bare = {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
    state = {key: value for key, value in bare.items() if key in own}
    lacking = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    if lacking:
        raise DataError(
            f"{who} holds other weights: {len(lacking)} of {len(own)} are missing, for example {lacking[0]}. Expected the state "
            "dict of this network."
        )
    last = next(key for key in own if key.endswith(_CLASSIFIERS) and not key.startswith("rpn."))
    classes = round(len(state[last]) * COCO / len(own[last]))
    if classes != COCO:
        network = build(num_classes=classes)
        own = network.state_dict()
    wrong = [key for key, value in state.items() if value.shape != own[key].shape]
    if wrong:
        found, expected = tuple(state[wrong[0]].shape), tuple(own[wrong[0]].shape)
        raise DataError(f"{who}: {wrong[0]} is {found}, expected {expected}. Is it of another network?")
    return network, {**own, **state}, classes


def _maker(name: str) -> Callable[[DetectorSettings, Camera], TorchvisionDetector]:
    def made(settings: DetectorSettings, camera: Camera) -> TorchvisionDetector:
        return TorchvisionDetector(name, settings, camera)

    return made


for _name in NAMES:
    register_detector(_name, takes=("weights", "classes"), minimum_score=0.1)(_maker(_name))
