"""What training images were made of before batches were, one image at a time: the definition that faster ways are held to."""

from dataclasses import dataclass

import numpy as np

from crossreid.data.erasing import erased
from crossreid.data.pseudo_infrared import pseudo_infrared
from crossreid.data.records import Modality
from crossreid.data.transforms import TrainTransform, jittered, resized

LUMA = np.array((0.299, 0.587, 0.114), dtype=np.float32)


@dataclass(frozen=True)
class OneByOne:
    """The transform of one image, every step by NumPy as it comes: flip, pad, crop, grey, jitter, normalise, erase."""

    options: TrainTransform

    def __call__(self, image, generator, modality):
        of = self.options
        image = resized(image, of.height, of.width, of.interpolation)
        flip, erase, grey, pseudo = generator.random(4)
        shift = generator.integers(0, 2 * of.pad + 1, size=2)
        scales = 1 + of.jitter * generator.uniform(-1, 1, size=3)
        if flip < of.flip:
            image = image[:, ::-1]
        if of.pad:
            padded = np.pad(image, ((of.pad, of.pad), (of.pad, of.pad), (0, 0)), constant_values=of.pad_value)
            image = padded[shift[0] : shift[0] + of.height, shift[1] : shift[1] + of.width]
        visible = modality == Modality.VISIBLE
        if visible and pseudo < of.pseudo_infrared:
            image, visible = pseudo_infrared(image, generator), False
        elif visible and grey < of.grey:
            image = np.repeat((image @ LUMA).astype(np.uint8)[:, :, None], 3, axis=2)
        if of.jitter:
            image = jittered(image, scales, saturation=visible)
        tensor = of.normalisation.of_bytes(image)
        return erased(tensor, generator, of.rectangle, fill=of.fill) if erase < of.erasing else tensor
