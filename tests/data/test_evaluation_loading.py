"""Loading for evaluation, on real image files: order, pixels, bad files."""

import numpy as np
import pytest
import torch
from PIL import Image

from crossreid.data.evaluation_loading import evaluation_batches
from crossreid.data.records import VISIBLE
from noise_records import noise_records, refusal_of, spoil


@pytest.fixture
def records(tmp_path):
    return noise_records(tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_the_order_and_is_pillows_resize(records, tmp_path, workers):
    batches = list(evaluation_batches(records, height=32, width=16, batch=7, workers=workers))
    assert [len(images) for images, _ in batches] == [7, 7, 7, 3]
    images, modalities = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert modalities.tolist() == [int(record.modality) for record in records]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for record, image in zip(records, images, strict=True):
        with Image.open(record.path) as opened:
            pixels = np.asarray(opened.resize((16, 32), Image.Resampling.BILINEAR)) / 255
        np.testing.assert_allclose(image.numpy().transpose(1, 2, 0), (pixels - mean) / std, atol=1e-4)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_stops_evaluation_by_its_name(records, tmp_path, workers):
    (path,) = spoil(records, identity="id1", kind=VISIBLE, count=1)
    told = refusal_of(lambda: list(evaluation_batches(records, height=32, width=16, batch=4, workers=workers)))
    assert told.startswith(path)
    assert "Traceback" not in told
