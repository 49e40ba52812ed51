"""Why two images match: where in each of them their similarity comes from, by Grad-CAM of each towards the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crossreid.analysis.grad_cam import encoder_title, grad_cam
from crossreid.errors import CrossreidError
from crossreid.inference.open_model import open_model
from crossreid.inference.torch_model import TorchModel
from crossreid.service.schemas import Heat, Maps


class Explainer:
    """A run's network opened once more, unfused, at the first question: explanations need its maps and its gradients.

    One question at a time: gradients are the network's.
    """

    def __init__(self, run: Path, checkpoint: str, device: str | None) -> None:
        self._run, self._checkpoint, self._device = run, checkpoint, device
        self._model: TorchModel | None = None

    def maps(self, pixels: np.ndarray, modality: int, towards: np.ndarray) -> Maps:
        """The maps of an image `(H, W, 3)` uint8, of each encoder it passes, for its similarity to `towards` `(D,)`.

        Raises:
            DataError: the network gives tokens and no maps.
            RuntimeError: the run can no longer be opened.
        """
        if self._model is None:
            self._model = self._opened()
        image = self._model.transform(pixels)
        found = grad_cam(self._model.network, image, modality, towards)
        return Maps(maps=[Heat(encoder=encoder_title(each.encoder), heat=each.heat.tolist()) for each in found])

    def _opened(self) -> TorchModel:
        try:
            opened = open_model(self._run, checkpoint=self._checkpoint, device=self._device, fuse=False)
        except CrossreidError as error:  # nothing that whoever asks for maps could mend
            raise RuntimeError(f"the run cannot be opened a second time: {error}") from error
        assert isinstance(opened, TorchModel)
        return opened
