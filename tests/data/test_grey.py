"""The grey version of a normalised batch against Pillow's conversion of the same pixels."""

import numpy as np
import torch
from PIL import Image

from crossreid.data.grey import grey_of_normalised, grey_version

# Of ImageNet (Russakovsky et al., 2015), in the order red, green, blue.
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def normalised(pixels):
    return torch.tensor((pixels / 255 - MEAN) / STD, dtype=torch.float32).permute(0, 3, 1, 2)


def pixels_of(batch):
    return (batch.permute(0, 2, 3, 1).numpy() * STD + MEAN) * 255


def random_pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_grey_is_pillows_to_half_a_level():
    pixels = random_pixels(3, 16, 8, 3)
    found = pixels_of(grey_version(normalised(pixels)))
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L").convert("RGB")) for image in pixels])
    assert np.abs(found - expected).max() < 0.51


def test_what_is_grey_already_stays():
    grey = normalised(np.repeat(random_pixels(2, 8, 8, 1), 3, axis=3))
    torch.testing.assert_close(grey_version(grey), grey, atol=1e-5, rtol=0)


def test_reduced_precision_stays_reduced():
    images = normalised(random_pixels(1, 4, 4, 3))
    found = grey_version(images.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), grey_version(images), atol=0.05, rtol=0.05)


def test_the_releases_grey_is_the_luma_of_normalised_channels_three_times():
    images = torch.randn(3, 3, 5, 4, requires_grad=True)
    found = grey_of_normalised(images)
    assert not found.requires_grad
    for image, grey in zip(images.detach(), found, strict=True):
        luma = 0.2989 * image[0] + 0.5870 * image[1] + 0.1140 * image[2]
        for channel in grey:
            torch.testing.assert_close(channel, luma)
