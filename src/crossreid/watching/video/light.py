"""The light of a picture: infrared pictures are grey. For cameras that switch to night mode by themselves."""

from __future__ import annotations

import numpy as np

from crossreid.data.records import Modality
from crossreid.extras import needed
from crossreid.watching.cameras import CameraLight

GREY, COLOURED = 1.2, 2.4  # chroma below which a picture is grey, and above which it is coloured
DWELL = 2.0  # seconds for which all pictures must indicate the other light to switch
_ACROSS = 64  # pixels of the downsampled picture: averaging suppresses colour noise
_A_MEAN = 4  # pixels per axis averaged into an output pixel, if there are that many; using all would take milliseconds
# ITU-R BT.601, full range: what red, green and blue contribute to blue and red chroma.
_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32)


def chroma(image: np.ndarray) -> float:
    """The mean of |Cb| and |Cr| of a picture `(H, W, 3)` uint8 RGB, downsampled by averaging; 0 for a grey one."""
    cv2 = needed("cv2", "telling infrared pictures from others")
    step = max(1, image.shape[1] // (_A_MEAN * _ACROSS))
    image = np.ascontiguousarray(image[::step, ::step]) if step > 1 else image
    height, width = image.shape[:2]
    size = (min(_ACROSS, width), max(1, min(height, round(height * min(_ACROSS, width) / width))))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return float(np.abs(small.reshape(-1, 3).astype(np.float32) @ _CHROMA.T).mean())


class Light:
    """The modality of a camera's successive frames.

    With `auto`, a picture below `GREY` indicates infrared, one above `COLOURED` visible, one in between nothing. The
    modality changes once all pictures for `DWELL` seconds have indicated the other, so that it does not flicker for a
    dark scene in colour.

    Args:
        light: the camera's.
        before: the last modality, if known; else the first picture decides.
    """

    def __init__(self, light: CameraLight, before: Modality | None = None) -> None:
        self.decides = light == "auto"
        self.modality = before if self.decides else Modality[light.upper()]
        self._since: float | None = None  # when the pictures began to indicate the other modality

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
