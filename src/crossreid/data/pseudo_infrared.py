"""Pseudo-infrared: make a visible photograph look as if taken in near-infrared light.

Channels are mixed at random with red dominant, a tone curve and uneven lamp light are applied, and sensor noise is
added. This removes hue and changes contrasts, which is what makes cross-modal matching hard; it cannot know how bright
a dye really is in near-infrared light, so results on it do not replace those on images of an infrared camera.
"""

from __future__ import annotations

import numpy as np


def pseudo_infrared(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Convert `(H, W, 3)` uint8 RGB to `(H, W, 3)` uint8 with three equal channels.

    The mix is a Dirichlet draw that favours red, minus up to a fifth of the blue channel; gamma is drawn from [0.6,
    1.5], the lamp's fall-off towards the corners from [0, 0.4], noise from a deviation of 1 to 6 grey levels.
    """
    height, width = image.shape[:2]
    mix = generator.dirichlet((5.0, 3.0, 1.5)).astype(np.float32)
    blue = generator.uniform(0.0, 0.2)
    mix = (mix + np.array([blue / 2, blue / 2, -blue], dtype=np.float32)).astype(np.float32)
    grey = np.clip(image.astype(np.float32) @ mix / 255.0, 0.0, 1.0) ** np.float32(generator.uniform(0.6, 1.5))
    y, x = np.ogrid[-1.0 : 1.0 : height * 1j, -1.0 : 1.0 : width * 1j]
    centre = generator.uniform(-0.3, 0.3, size=2)
    grey *= 1.0 - generator.uniform(0.0, 0.4) * np.clip(((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 2.0, 0, 1)
    grey = grey * 255.0 + generator.normal(0.0, generator.uniform(1.0, 6.0), size=(height, width))
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
