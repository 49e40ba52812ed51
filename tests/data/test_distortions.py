"""Distortions of batches: the warp and the light held to SciPy and NumPy, image by image, and what a seed decides."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from crossreid.data.data_options import DataOptions
from crossreid.data.distortions import (
    AffineWarp,
    DistortionOptions,
    LightShift,
    affine_matrices,
    distortions,
)
from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.data.training_loading import TrainLoader
from no_synchronisation import no_synchronisation
from noise_records import noise_records

COUNT, HEIGHT, WIDTH = 6, 20, 12
RAW = torch.rand((COUNT, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(0))
KINDS = torch.tensor([0, 1, 0, 1, 0, 1])
IMAGES = IMAGENET.of_raw(RAW)


def by_scipy(image, drawn):
    """One image `(3, H, W)` warped, in pixels: rotation, shear and scales about its centre, then a shift."""
    angle, size, stretch, shear, right, down = (float(value) for value in drawn)
    angle = np.deg2rad(15 * angle)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sheared = np.array([[1, 0.2 * shear], [0, 1]])
    scale = np.exp(0.25 * size)
    diagonal = np.diag([scale * np.exp(0.15 * stretch), scale / np.exp(0.15 * stretch)])
    matrix = rotation @ sheared @ diagonal
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centre = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    places = np.stack([x, y], axis=-1) - centre
    there = places @ matrix.T + centre + np.array([0.1 * right * WIDTH, 0.1 * down * HEIGHT])
    coordinates = [there[..., 1], there[..., 0]]
    return np.stack([ndimage.map_coordinates(plane, coordinates, order=1, mode="nearest") for plane in image])


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_a_warp_is_what_scipy_makes_of_the_same_draw(strength):
    found = AffineWarp(strength)(IMAGES, KINDS, np.random.default_rng(3))
    drawn = np.random.default_rng(3).uniform(-1, 1, (COUNT, 6)) * strength
    for image, was, one in zip(found, IMAGES, drawn, strict=True):
        np.testing.assert_allclose(image.numpy(), by_scipy(was.double().numpy(), one), atol=2e-4)


def test_nothing_drawn_changes_nothing():
    matrices = affine_matrices(np.zeros((2, 6)), (HEIGHT, WIDTH))
    np.testing.assert_allclose(matrices, [[[1, 0, 0], [0, 1, 0]]] * 2, atol=1e-7)


@given(st.floats(-1, 1), st.integers(8, 64), st.integers(8, 64))
@settings(max_examples=30, deadline=None)
def test_a_rotation_keeps_lengths_in_pixels(angle, height, width):
    drawn = np.array([[angle, 0, 0, 0, 0, 0]])
    inner = affine_matrices(drawn, (height, width))[0, :, :2].astype(np.float64)
    halves = np.diag([width / 2, height / 2])
    in_pixels = halves @ inner @ np.linalg.inv(halves)
    np.testing.assert_allclose(in_pixels @ in_pixels.T, np.eye(2), atol=1e-5)


def test_light_is_gamma_then_contrast_about_the_mean_then_brightness():
    of = Normalisation((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
    found = of.raw(LightShift(1.5, of)(of.of_raw(RAW), KINDS, np.random.default_rng(2)))
    drawn = np.random.default_rng(2).uniform(-1, 1, (COUNT, 3)) * 1.5
    for image, was, (gamma, contrast, brightness) in zip(found, RAW.double().numpy(), drawn, strict=True):
        values = np.clip(was, 1e-3, 1) ** np.exp(0.8 * gamma)
        mean = values.mean()
        expected = np.clip((values - mean) * np.exp(0.6 * contrast) + mean * np.exp(0.4 * brightness), 0, 1)
        np.testing.assert_allclose(image.numpy(), expected, atol=1e-5)


ALL = DistortionOptions(affine=1, light=1)


def test_a_seed_decides_and_nothing_given_is_changed():
    kept = IMAGES.clone()
    one, same, other = (distortions(ALL)(IMAGES, KINDS, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(IMAGES, kept)
    assert torch.equal(one, distortions(ALL)(IMAGES, 1 - KINDS, np.random.default_rng(0))), (
        "modalities make no difference"
    )
    assert distortions(DistortionOptions()).transforms == []


def test_no_device_is_waited_for():
    with no_synchronisation(torch.device("cpu"), moves=True):
        distortions(ALL)(IMAGES, KINDS, np.random.default_rng(0))


def options_of(root, **augment):
    return DataOptions(
        name="manifest", root=root, height=32, width=16, workers=0, augment={"flip": 0, "pad": 0, **augment},
        sampler={"identities": 2, "images": 2},
    )  # fmt: skip


def test_batches_are_distorted_by_their_epoch_and_step_alone(tmp_path):
    records = noise_records(tmp_path)
    given = {"distortions": ALL.model_dump()}
    loader = TrainLoader(records, options_of(tmp_path, **given), seed=0)
    whole = list(loader(1))
    later = list(loader(1, first_step=1))
    assert all(torch.equal(a.images, b.images) for a, b in zip(whole[1:], later, strict=True))
    plain = list(TrainLoader(records, options_of(tmp_path), seed=0)(1))
    for step, (batch, was) in enumerate(zip(whole, plain, strict=True)):
        expected = distortions(ALL)(was.images, was.modalities, np.random.default_rng((0, 1, step, 0, 2)))
        torch.testing.assert_close(batch.images, expected)
        assert not torch.allclose(batch.images, was.images)


def test_sources_that_are_normalised_differently_are_refused(tmp_path):
    source = {"name": "manifest", "root": tmp_path}
    own = {"normalise": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}}
    sources = [{**source, "called": "a", **own}, {**source, "called": "b"}]
    with pytest.raises(ValidationError, match=r"augment\.distortions works on whole batches"):
        DataOptions(sources=sources, augment={"distortions": {"affine": 0.5}})
