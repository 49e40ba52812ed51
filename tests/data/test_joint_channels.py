"""CAJ's batches: who is shown how, and that the loader shows every visible image twice."""

import numpy as np
import pytest
import torch

from crossreid.data.channels import ChannelOptions
from crossreid.data.data_options import DataOptions
from crossreid.data.joint_channels import (
    AREA,
    ERASED,
    RATIO,
    erased_by_constants,
    joint_channels,
    luma_of_normalised,
    rectangle,
)
from crossreid.data.records import DataError
from crossreid.data.training_loading import TrainLoader
from noise_records import noise_records


def images_of(count, seed=0):
    return torch.randn(count, 3, 12, 8, generator=torch.Generator().manual_seed(seed))


def test_copies_are_exchanged_visible_ones_stay_and_infrared_ones_are_drawn_of_five():
    count, copies = 3000, 1000
    images, modalities = images_of(count), torch.tensor([0, 1, 0]).repeat_interleave(1000)
    found = joint_channels(images, modalities, copies, np.random.default_rng(0), erasing=0.0)
    torch.testing.assert_close(found[:1000], images[:1000], rtol=0, atol=0)
    shown = {c: (found == images[:, c : c + 1]).all(dim=(1, 2, 3)) for c in range(3)}
    grey = (found == luma_of_normalised(images)).all(dim=(1, 2, 3))
    same = (found == images).all(dim=(1, 2, 3))
    for rows, shares in (
        (slice(2000, 3000), (1 / 3,) * 3 + (0, 0)),
        (slice(1000, 2000), (1 / 4,) * 3 + (1 / 8, 1 / 8)),
    ):
        parts = [*(shown[c][rows] for c in range(3)), grey[rows], same[rows]]
        assert torch.stack(parts).sum(0).eq(1).all()
        assert [float(part.float().mean()) for part in parts] == pytest.approx(shares, abs=0.05)


def test_a_rectangle_holds_constants_and_its_sides_are_smaller_than_the_image():
    images = images_of(200)
    found = erased_by_constants(images, 0.5, np.random.default_rng(1))
    erased = (found == torch.tensor(ERASED)[:, None, None]).all(1)
    assert 0.4 < float(erased.any(dim=(1, 2)).float().mean()) < 0.6
    torch.testing.assert_close(found.masked_fill(erased[:, None], 0), images.masked_fill(erased[:, None], 0))
    generator = np.random.default_rng(2)
    for _ in range(300):
        top, left, height, width = rectangle(40, 20, generator)
        assert top + height <= 40
        assert left + width <= 20
        assert height < 40
        assert width < 20
        assert AREA[0] * 800 * 0.7 < height * width < AREA[1] * 800 * 1.3
        assert RATIO[0] * 0.6 < height / width < RATIO[1] * 1.7


def test_the_loader_shows_every_visible_image_twice_by_draws_of_their_own(tmp_path):
    records = noise_records(tmp_path)

    def epoch(first=0, **channels):
        options = DataOptions(
            name="manifest", root=tmp_path, height=32, width=16, workers=0, sampler={"identities": 2, "images": 4},
            augment={"flip": 0.5, "pad": 4, "channels": channels},
        )  # fmt: skip
        return list(TrainLoader(records, options, seed=0)(0, first))

    plain, joint = epoch(), epoch(joint=True, erasing=0.5)
    assert len(plain) == len(joint)
    for alone, batch in zip(plain, joint, strict=True):
        visible = alone.modalities == 0
        assert len(batch.images) == 8 + 4
        for part in ("labels", "modalities", "cameras"):
            own = getattr(alone, part)
            assert torch.equal(getattr(batch, part), torch.cat([own, own[visible]]))
        second = batch.images[8:]
        assert torch.equal(second[:, 0], second[:, 1])
    again = epoch(1, joint=True, erasing=0.5)
    for before, after in zip(joint[1:], again, strict=True):
        assert torch.equal(before.images, after.images)
    clean = epoch(joint=True)[0].images
    pairs = zip(clean[:8][plain[0].modalities == 0], clean[8:], strict=True)
    assert any(not any(torch.equal(first[c], copy[0]) for c in range(3)) for first, copy in pairs), (
        "flipped or cropped apart"
    )


def test_joint_refuses_what_it_does_itself(tmp_path):
    with pytest.raises(ValueError, match="Leave exchange and grey at 0"):
        ChannelOptions(joint=True, grey=0.1)
    options = DataOptions(
        name="manifest", root=tmp_path, sampler={"identities": 2, "images": 4}, sets={"size": 2},
        augment={"channels": {"joint": True}},
    )  # fmt: skip
    with pytest.raises(DataError, match=r"data\.sets\.size is 2"):
        TrainLoader(noise_records(tmp_path), options, seed=0)
