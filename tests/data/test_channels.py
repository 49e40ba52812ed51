"""Augmentations of channels: what they do to raw colours, to whom, and that a seed decides."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossreid.data.channels import (
    ChannelErasing,
    ChannelExchange,
    ChannelOptions,
    Compose,
    RandomGrey,
    channel_transforms,
)
from crossreid.data.normalisation import IMAGENET, Normalisation

SIZE = (8, 3, 12, 6)
RAW = torch.rand(SIZE, generator=torch.Generator().manual_seed(0))
KINDS = torch.tensor([0, 1, 0, 1, 0, 0, 1, 0])


def normalised(raw):
    return (raw - torch.tensor(IMAGENET.mean)[:, None, None]) / torch.tensor(IMAGENET.std)[:, None, None]


def raw_of(images):
    return images * torch.tensor(IMAGENET.std)[:, None, None] + torch.tensor(IMAGENET.mean)[:, None, None]


IMAGES = normalised(RAW)


def test_exchange_shows_one_channel_three_times_and_leaves_infrared_alone():
    chosen = set()
    for seed in range(6):
        found = raw_of(ChannelExchange(1.0)(IMAGES, KINDS, np.random.default_rng(seed)))
        for image, was, kind in zip(found, RAW, KINDS, strict=True):
            if kind:
                torch.testing.assert_close(image, was)
                continue
            same = [c for c in range(3) if all(torch.allclose(image[k], was[c], atol=1e-5) for k in range(3))]
            assert len(same) == 1
            chosen |= set(same)
    assert chosen == {0, 1, 2}


def test_grey_is_the_luma_of_visible_images():
    found = raw_of(RandomGrey(1.0)(IMAGES, KINDS, np.random.default_rng(0)))
    luma = 0.299 * RAW[:, 0] + 0.587 * RAW[:, 1] + 0.114 * RAW[:, 2]
    for channel in range(3):
        torch.testing.assert_close(found[KINDS == 0, channel], luma[KINDS == 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[KINDS == 1], RAW[KINDS == 1])


def test_erasing_is_one_rectangle_of_one_value_a_channel():
    found = raw_of(ChannelErasing(1.0)(IMAGES, KINDS, np.random.default_rng(1)))
    for image, was in zip(found, RAW, strict=True):
        changed = (image - was).abs().amax(0) > 1e-4
        rows, columns = (np.flatnonzero(changed.any(axis).numpy()) for axis in (1, 0))
        assert len(rows)
        box = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert float((box.amax((1, 2)) - box.amin((1, 2))).max()) < 1e-5
        assert changed.sum() == len(rows) * len(columns)
        assert len({round(float(value), 4) for value in box[:, 0, 0]}) == 3


@given(st.integers(0, 500), st.floats(0, 1), st.sampled_from([ChannelExchange, RandomGrey, ChannelErasing]))
@settings(max_examples=25, deadline=None)
def test_a_seed_decides_an_image_stays_whole_or_is_changed_and_the_input_is_left_alone(seed, probability, kind):
    before = IMAGES.clone()
    one, two = (kind(probability)(IMAGES, KINDS, np.random.default_rng(seed)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(IMAGES, before)
    assert one.shape == IMAGES.shape
    assert one.dtype == torch.float32
    # What is drawn for a place does not depend on what the other images are.
    others = IMAGES.roll(1, 0).clone()
    others[2] = IMAGES[2]
    torch.testing.assert_close(kind(probability)(others, KINDS, np.random.default_rng(seed))[2], one[2])


@pytest.mark.parametrize("kind", [ChannelExchange, RandomGrey, ChannelErasing])
def test_probabilities_are_kept(kind):
    images, kinds = IMAGES[:1].expand(4000, -1, -1, -1), torch.zeros(4000, dtype=torch.long)
    changed = (kind(0.3)(images, kinds, np.random.default_rng(0)) - images).abs().amax((1, 2, 3)) > 1e-6
    assert abs(changed.float().mean() - 0.3) < 0.03
    assert torch.equal(kind(0.0)(images, kinds, np.random.default_rng(0)), images)


def test_composition_is_one_after_another_with_one_generator():
    both = Compose([ChannelExchange(0.5), ChannelErasing(0.5)])(IMAGES, KINDS, np.random.default_rng(3))
    generator = np.random.default_rng(3)
    step = ChannelExchange(0.5)(IMAGES, KINDS, generator)
    assert torch.equal(both, ChannelErasing(0.5)(step, KINDS, generator))
    kinds = [type(t) for t in channel_transforms(ChannelOptions(exchange=0.1, erasing=0.2)).transforms]
    assert kinds == [ChannelExchange, ChannelErasing]


def test_on_another_scale_the_same_is_done_to_the_same_picture():
    halves = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    options = ChannelOptions(exchange=0.5, grey=0.5, erasing=0.5)
    found = [
        of.raw(channel_transforms(options, of)(of.of_raw(RAW), KINDS, np.random.default_rng(3)))
        for of in (IMAGENET, halves)
    ]
    torch.testing.assert_close(*found)
    assert not torch.allclose(found[0], RAW)
