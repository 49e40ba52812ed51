import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crossreid.data.erasing import RectangleOptions
from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.data.pseudo_infrared import pseudo_infrared
from crossreid.data.records import Modality
from crossreid.data.transforms import (
    EvalTransform,
    TrainTransform,
    grey_version,
    jittered,
)

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 24, 3), dtype=np.uint8)


def as_uint8(tensor):
    values = tensor * torch.tensor(IMAGENET.std)[:, None, None] + torch.tensor(IMAGENET.mean)[:, None, None]
    return (values * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def test_evaluation_only_resizes_and_normalises():
    assert np.array_equal(as_uint8(EvalTransform(40, 24)(IMAGE)), IMAGE)
    assert EvalTransform(64, 32)(IMAGE).shape == (3, 64, 32)
    flat = np.full((50, 30, 3), 77, np.uint8)
    assert np.array_equal(as_uint8(EvalTransform(20, 10)(flat)), np.full((20, 10, 3), 77))


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_interpolation_is_pillows_of_that_name(kind):
    expected = np.asarray(Image.fromarray(IMAGE).resize((16, 32), Image.Resampling[kind.upper()]))
    assert np.array_equal(as_uint8(EvalTransform(32, 16, kind)(IMAGE)), expected)
    train = TrainTransform(32, 16, flip=0, interpolation=kind)
    assert np.array_equal(as_uint8(train(IMAGE, np.random.default_rng(0), Modality.VISIBLE)), expected)


@given(st.integers(0, 10**6))
def test_training_is_a_function_of_the_seed(seed):
    transform = TrainTransform(32, 16, flip=0.5, pad=4, erasing=0.5, grey=0.5, jitter=0.3, pseudo_infrared=0.5)
    one, two = (transform(IMAGE, np.random.default_rng(seed), Modality.VISIBLE) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (3, 32, 16)
    assert one.isfinite().all()


def test_without_augmentation_it_is_the_evaluation_transform():
    plain = TrainTransform(32, 16, flip=0)(IMAGE, np.random.default_rng(1), Modality.VISIBLE)
    assert torch.equal(plain, EvalTransform(32, 16)(IMAGE))


def test_flip_always_and_never():
    flipped = TrainTransform(40, 24, flip=1)(IMAGE, np.random.default_rng(1), Modality.VISIBLE)
    assert np.array_equal(as_uint8(flipped), IMAGE[:, ::-1])


@given(st.integers(0, 1000))
def test_a_crop_is_a_shift_by_at_most_the_padding(seed):
    moved = as_uint8(TrainTransform(40, 24, flip=0, pad=3)(IMAGE, np.random.default_rng(seed), Modality.VISIBLE))
    padded = np.pad(IMAGE, ((3, 3), (3, 3), (0, 0)))
    assert any(np.array_equal(moved, padded[y : y + 40, x : x + 24]) for y in range(7) for x in range(7))


@pytest.mark.parametrize("level", [0, 127])
def test_padding_shows_its_grey_level(level):
    """Moved by the largest shift of a corner, an image of one colour has a border of the other."""
    white = np.full((40, 24, 3), 255, np.uint8)
    transform = TrainTransform(40, 24, flip=0, pad=3, pad_value=level)
    for seed in range(20):
        moved = as_uint8(transform(white, np.random.default_rng(seed), Modality.VISIBLE))
        assert set(np.unique(moved)) <= {level, 255}
    assert level in moved


@pytest.mark.parametrize("space", ["image", "normalised"])
def test_erasing_fills_before_or_after_normalising(space):
    rectangle = {"value": (0.4914, 0.4822, 0.4465), "space": space}
    transform = TrainTransform(40, 24, flip=0, erasing=1.0, rectangle=RectangleOptions(**rectangle))
    found = transform(IMAGE, np.random.default_rng(0), Modality.VISIBLE)
    hole = (found != EvalTransform(40, 24)(IMAGE)).all(0)
    assert hole.any()
    value = torch.tensor(rectangle["value"])
    expected = value if space == "normalised" else (value - torch.tensor(IMAGENET.mean)) / torch.tensor(IMAGENET.std)
    torch.testing.assert_close(found[:, hole], expected[:, None].expand(-1, int(hole.sum())))


@pytest.mark.parametrize("options", [{"grey": 1.0}, {"pseudo_infrared": 1.0}])
def test_only_visible_images_lose_their_hue(options):
    transform = TrainTransform(40, 24, flip=0, **options)
    visible = as_uint8(transform(IMAGE, np.random.default_rng(0), Modality.VISIBLE))
    infrared = as_uint8(transform(IMAGE, np.random.default_rng(0), Modality.INFRARED))
    assert (np.ptp(visible.astype(int), axis=2) <= 1).all()
    assert np.array_equal(infrared, IMAGE)


def test_jitter_scales_brightness_contrast_and_saturation():
    brighter = jittered(np.full((4, 4, 3), 100, np.uint8), np.array([1.2, 1, 1]), saturation=True)
    assert (brighter == 120).all()
    grey = jittered(IMAGE, np.array([1, 1, 0.0]), saturation=True)
    assert (np.ptp(grey.astype(int), axis=2) <= 1).all()
    assert jittered(IMAGE, np.array([1, 0.5, 1]), saturation=False).std() == pytest.approx(IMAGE.std() / 2, rel=0.02)


def test_pseudo_infrared_hides_hue_and_keeps_structure():
    left = np.zeros((30, 30, 3), np.uint8)
    left[:, :15] = 230
    for seed in range(20):
        result = pseudo_infrared(left, np.random.default_rng(seed))
        assert (result == result[:, :, :1]).all()
        assert result[:, :15].mean() > result[:, 15:].mean() + 50
    different = {pseudo_infrared(IMAGE, np.random.default_rng(seed)).tobytes() for seed in range(20)}
    assert len(different) == 20


# Of ImageNet (Russakovsky et al., 2015), in the order red, green, blue.
IMAGENET_MEAN, IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def normalised_batch(pixels):
    return torch.tensor((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD, dtype=torch.float32).permute(0, 3, 1, 2)


def pixels_of(batch):
    return (batch.permute(0, 2, 3, 1).numpy() * IMAGENET_STD + IMAGENET_MEAN) * 255


def random_pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_grey_is_pillows_to_half_a_level():
    pixels = random_pixels(3, 16, 8, 3)
    found = pixels_of(grey_version(normalised_batch(pixels)))
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L").convert("RGB")) for image in pixels])
    assert np.abs(found - expected).max() < 0.51


def test_what_is_grey_already_stays():
    grey = normalised_batch(np.repeat(random_pixels(2, 8, 8, 1), 3, axis=3))
    torch.testing.assert_close(grey_version(grey), grey, atol=1e-5, rtol=0)


def test_reduced_precision_stays_reduced():
    images = normalised_batch(random_pixels(1, 4, 4, 3))
    found = grey_version(images.to(torch.bfloat16))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), grey_version(images), atol=0.05, rtol=0.05)


HALVES = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_images_are_on_the_scale_that_is_asked_for():
    seen = EvalTransform(40, 24, normalisation=HALVES)(IMAGE)
    torch.testing.assert_close(seen, torch.tensor(IMAGE).permute(2, 0, 1) / 127.5 - 1)
    trained = TrainTransform(40, 24, flip=0, normalisation=HALVES)(IMAGE, np.random.default_rng(0), Modality.VISIBLE)
    assert torch.equal(trained, seen)


def test_erasing_with_a_value_of_the_image_is_that_value_on_any_scale():
    rectangle = RectangleOptions(value=(0.0, 0.5, 1.0), space="image")
    transform = TrainTransform(40, 24, flip=0, erasing=1, rectangle=rectangle, normalisation=HALVES)
    erased = transform(np.full((40, 24, 3), 77, np.uint8), np.random.default_rng(0), Modality.VISIBLE)
    hole = erased[0] != erased[0].max()
    assert hole.any()
    torch.testing.assert_close(erased[:, hole].unique(dim=1), torch.tensor([[-1.0], [0.0], [1.0]]))


def test_grey_is_the_same_picture_on_any_scale():
    pixels = torch.rand(2, 3, 6, 5)
    grey = [each.raw(grey_version(each.of_raw(pixels), each)) for each in (IMAGENET, HALVES)]
    torch.testing.assert_close(*grey)
