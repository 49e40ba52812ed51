"""Why two images match: where their similarity comes from in each (Grad-CAM), or where a transformer looks (rollout)."""

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
    """A run's network, opened a second time and unfused on first use: explanations need its feature maps and gradients.

    One request at a time, as gradients belong to the network. `kinds` are the available kinds of maps.
    """

    def __init__(self, run: Path, checkpoint: str, device: str | None, *, rollout: bool = False) -> None:
        self.kinds: list[MapKind] = ["grad-cam", "rollout"] if rollout else ["grad-cam"]
        self._run, self._checkpoint, self._device = run, checkpoint, device
        self._model: TorchModel | None = None

    def maps(self, pixels: np.ndarray, modality: int, towards: np.ndarray, kind: MapKind = "grad-cam") -> Maps:
        """The maps of an image `(H, W, 3)` uint8, per encoder it passes, for its similarity to `towards` `(D,)`.

        If a network has no rollout, they are Grad-CAM whatever was requested; each map names its kind.

        Raises:
            DataError: the network returns tokens and no maps.
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
        except CrossreidError as error:  # nothing the client could fix
            raise RuntimeError(f"the run cannot be opened a second time: {error}") from error
        assert isinstance(opened, TorchModel)
        return opened
