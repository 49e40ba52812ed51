"""Bytes and a table to network input: on the host and as a device does it, against one image at a time."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crossreid.data.channels import ChannelOptions, channel_transforms
from crossreid.data.erasing import RectangleOptions
from crossreid.data.joint_channels import joint_channels
from crossreid.data.network_input import NetworkInput, table_of
from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.data.records import Modality
from crossreid.data.transforms import TrainTransform
from one_by_one import OneByOne

OTHER = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
COUNT, HEIGHT, WIDTH = 48, 32, 16
EXACT = {"flip": 0.5, "pad": 4, "pad_value": 127, "erasing": 0.5}
LEVEL = 1 / 255 / min(*IMAGENET.std, *OTHER.std)  # a grey level, as the network sees it at most


def transforms_of(**options):
    return [TrainTransform(HEIGHT, WIDTH, normalisation=of, **options) for of in (IMAGENET, OTHER)]


def drawn_batch(transforms, seed=0):
    """Images with what was drawn for each, their sources, and what one image at a time gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    sources = [place % len(transforms) for place in range(COUNT)]
    kinds = [Modality(place // 2 % 2) for place in range(COUNT)]
    given = list(zip(pixels, sources, kinds, range(COUNT), strict=True))
    pairs = [transforms[of].drawn(image, np.random.default_rng((seed, n)), kind) for image, of, kind, n in given]
    expected = [OneByOne(transforms[of])(image, np.random.default_rng((seed, n)), kind) for image, of, kind, n in given]
    return pairs, sources, torch.stack(expected)


def on_host(transforms, pairs, sources):
    planes = np.stack([transforms[of].as_drawn(*pair) for pair, of in zip(pairs, sources, strict=True)])
    return NetworkInput(transforms).on_host(torch.from_numpy(planes), table_of([d for _, d in pairs], sources))


def on_device(transforms, pairs, sources, device="cpu"):
    pixels = torch.from_numpy(np.stack([image for image, _ in pairs])).to(device)
    table = table_of([drawn for _, drawn in pairs], sources)
    return NetworkInput(transforms).on_device(pixels, type(table)(*(part.to(device) for part in table)))


@pytest.mark.parametrize(
    "options",
    [
        {"flip": 0.0},
        EXACT,
        EXACT | {"pad": 0},
        EXACT | {"pad_value": 0, "pseudo_infrared": 0.5},
        EXACT | {"rectangle": RectangleOptions(value=(0.1, 0.2, 0.3), space="image", tries=3)},
        EXACT | {"grey": 0.5, "jitter": 0.3, "pseudo_infrared": 0.3},
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_host_gives_the_bits_of_one_image_at_a_time(options, seed):
    transforms = transforms_of(**options)
    pairs, sources, expected = drawn_batch(transforms, seed)
    assert torch.equal(on_host(transforms, pairs, sources), expected)
    found = on_device(transforms, pairs, sources)
    assert found.shape == expected.shape
    if options.get("grey"):
        off = (found - expected).abs()
        assert off.max() < 1.01 * LEVEL, "where grey and jitter round, a level"
        assert (off > 1e-5).float().mean() < 1e-3
    else:
        assert torch.equal(found, expected), "what only moves pixels, and normalises, rounds nothing"


def test_a_device_gives_channels_last_in_memory():
    transforms = transforms_of(**EXACT)
    pairs, sources, _ = drawn_batch(transforms)
    assert on_device(transforms, pairs, sources).is_contiguous(memory_format=torch.channels_last)


def test_grey_on_a_device_is_the_luma_cut_to_whole_levels():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8))
    transform = TrainTransform(HEIGHT, WIDTH, flip=0, grey=1.0, normalisation=Normalisation((0, 0, 0), (1, 1, 1)))
    drawn = [transform.drawn(image, np.random.default_rng(0), Modality.VISIBLE)[1] for image in pixels.numpy()]
    found = NetworkInput([transform]).on_device(pixels, table_of(drawn, [0, 0])) * 255
    exact = [
        [(299 * int(r) + 587 * int(g) + 114 * int(b)) // 1000 for r, g, b in image] for image in pixels.view(2, -1, 3)
    ]
    expected = torch.tensor(exact).view(2, 1, HEIGHT, WIDTH).expand(-1, 3, -1, -1)
    torch.testing.assert_close(found, expected.float(), atol=1e-3, rtol=0)


class NoWaiting(TorchDispatchMode):
    """Refuses what makes a host wait for a device: values of tensors, and shapes that depend on them."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique", "item")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.WAITS, name
        if name in ("index", "index_put", "index_put_"):
            assert not any(i is not None and i.dtype == torch.bool for i in args[1]), (
                "a mask has a size to be asked for"
            )
        return func(*args, **(kwargs or {}))


def test_what_a_device_does_never_waits_for_it():
    transforms = transforms_of(**EXACT, grey=0.5, jitter=0.3)
    pairs, sources, _ = drawn_batch(transforms)
    with NoWaiting():
        images = on_device(transforms, pairs, sources)
        generator = np.random.default_rng(0)
        modalities = torch.tensor([0, 1]).repeat(COUNT // 2)
        channel_transforms(ChannelOptions(exchange=0.5, grey=0.3, erasing=0.5))(images, modalities, generator)
        joint_channels(images, modalities, 8, generator, erasing=0.5)
        with pytest.raises(AssertionError, match="a mask has a size"):
            images[modalities == 1]
    # Where there are no values at all, nothing can have asked for one.
    shown = on_device(transforms, pairs, sources, "meta")
    assert channel_transforms(ChannelOptions(exchange=0.5, grey=0.3))(
        shown, modalities.to("meta"), np.random.default_rng(0)
    ).shape == (COUNT, 3, HEIGHT, WIDTH)


def test_a_batch_of_bytes_is_normalised_as_one_image_is():
    planes = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 8, 4), dtype=np.uint8))
    expected = torch.stack([OTHER.of_bytes(image.permute(1, 2, 0).numpy()) for image in planes])
    assert torch.equal(OTHER.of_batch(planes), expected)
    assert OTHER.of_batch(planes.to("meta")).shape == expected.shape
    assert OTHER.of_batch(planes).data_ptr() % 64 == 0
