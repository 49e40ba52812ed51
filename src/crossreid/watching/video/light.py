"""Which light a picture was taken in: infrared pictures are grey. For cameras that turn to night mode by themselves."""

from __future__ import annotations

import numpy as np

from crossreid.data.records import Modality
from crossreid.extras import needed
from crossreid.watching.cameras import CameraLight

GREY, COLOURED = 1.2, 2.4  # chroma below which a picture is grey, and from which on it is coloured
DWELL = 2.0  # seconds that all pictures must speak for the other light, until it is believed
_ACROSS = (
    64  # pixels of the small picture that is looked at: means, in which the noise of a sensor's colours goes under
)
_A_MEAN = 4  # pixels across that each of its own is the mean of, at least where there are so many; all would take milliseconds
# ITU-R BT.601, full range: what red, green and blue contribute to blue and red chroma.
_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32)


def chroma(image: np.ndarray) -> float:
    """The mean of |Cb| and |Cr| of a picture `(H, W, 3)` uint8 RGB, made small by means of its pixels; 0 of a grey one."""
    cv2 = needed("cv2", "telling infrared pictures from others")
    step = max(1, image.shape[1] // (_A_MEAN * _ACROSS))
    image = np.ascontiguousarray(image[::step, ::step]) if step > 1 else image
    height, width = image.shape[:2]
    size = (min(_ACROSS, width), max(1, min(height, round(height * min(_ACROSS, width) / width))))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return float(np.abs(small.reshape(-1, 3).astype(np.float32) @ _CHROMA.T).mean())


class Light:
    """The modality of a camera's frames, one after the other.

    With `auto`, a picture below `GREY` speaks for infrared, one above `COLOURED` for visible, one between them for nothing. The
    modality changes once all pictures of `DWELL` seconds have spoken for the other: a dark scene in colour does not flicker.

    Args:
        light: of the camera.
        before: the modality that it had last, where that is known; else the first picture decides.
    """

    def __init__(self, light: CameraLight, before: Modality | None = None) -> None:
        self.decides = light == "auto"
        self.modality = before if self.decides else Modality[light.upper()]
        self._since: float | None = None  # when the pictures began to speak for the other

    def of(self, image: np.ndarray, time: float) -> Modality:
        """The modality of the next frame, `(H, W, 3)` uint8 RGB at `time` in seconds."""
        if not self.decides and self.modality is not None:
            return self.modality
        colour = chroma(image)
        if self.modality is None:
            self.modality = Modality.INFRARED if colour < (GREY + COLOURED) / 2 else Modality.VISIBLE
        infrared = self.modality == Modality.INFRARED
        if colour > COLOURED if infrared else colour < GREY:
            if self._since is None:
                self._since = time
            if time - self._since >= DWELL:
                self.modality = Modality.VISIBLE if infrared else Modality.INFRARED
                self._since = None
        else:
            self._since = None
        return self.modality
