"""Why two images match: where in each of them their similarity comes from (Grad-CAM), or where a transformer looks (rollout)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossreid.analysis.grad_cam import encoder_title
from crossreid.analysis.rollout import attention_maps
from crossreid.errors import CrossreidError
from crossreid.inference.engines.torch_model import TorchModel
from crossreid.inference.open_model import open_model
from crossreid.service.schemas import Heat, MapKind, Maps


class Explainer:
    """A run's network opened once more, unfused, at the first question: explanations need its maps and its gradients.

    One question at a time: gradients are the network's. `kinds` are the kinds of maps that there are.
    """

    def __init__(self, run: Path, checkpoint: str, device: str | None, *, rollout: bool = False) -> None:
        self.kinds: list[MapKind] = ["grad-cam", "rollout"] if rollout else ["grad-cam"]
        self._run, self._checkpoint, self._device = run, checkpoint, device
        self._model: TorchModel | None = None

    def maps(self, pixels: np.ndarray, modality: int, towards: np.ndarray, kind: MapKind = "grad-cam") -> Maps:
        """The maps of an image `(H, W, 3)` uint8, of each encoder it passes, for its similarity to `towards` `(D,)`.

        Of a network that has no rollout they are Grad-CAM whatever was asked for; each map says its kind.

        Raises:
            DataError: the network gives tokens and no maps.
            RuntimeError: the run can no longer be opened.
        """
        if self._model is None:
            self._model = self._opened()
        image = self._model.transform(pixels)
        found = attention_maps(self._model.network, image, modality, towards, kind)
        return Maps(
            maps=[Heat(encoder=encoder_title(each.encoder), kind=each.kind, heat=each.heat.tolist()) for each in found]
        )

    def _opened(self) -> TorchModel:
        try:
            opened = open_model(self._run, checkpoint=self._checkpoint, device=self._device, fuse=False)
        except CrossreidError as error:  # nothing that whoever asks for maps could mend
            raise RuntimeError(f"the run cannot be opened a second time: {error}") from error
        assert isinstance(opened, TorchModel)
        return opened
