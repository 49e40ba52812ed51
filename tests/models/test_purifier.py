"""The purifier against its equations, and what its two kinds of masks depend on."""

import pytest
import torch

from crossreid.models.purifier import Purifier

MAPS = torch.randn(3, 32, 4, 2, generator=torch.Generator().manual_seed(0)) + 1


def purifier(masks):
    torch.manual_seed(1)
    module = Purifier(32, masks=masks)
    torch.nn.init.normal_(module.norm.weight)
    torch.nn.init.normal_(module.norm.bias)
    return module


@torch.no_grad()
@pytest.mark.parametrize("masks", ["pooled", "spatial"])
def test_maps_are_what_the_equations_say(masks):
    module = purifier(masks)
    found = module(MAPS)
    for image in range(3):
        for channel in range(32):
            values = MAPS[image, channel]
            centred = (values - values.mean()) / (values.var(correction=0) + module.norm.eps).sqrt()
            expected = centred * module.norm.weight[channel] + module.norm.bias[channel]
            torch.testing.assert_close(found.normalised[image, channel], expected, atol=1e-4, rtol=1e-4)

    def mask(layers, maps):
        first, second = (layer.weight[:, :, 0, 0] for layer in layers if isinstance(layer, torch.nn.Conv2d))
        given = maps.mean((2, 3), keepdim=True) if masks == "pooled" else maps
        hidden = torch.einsum("oc,bchw->bohw", first, given).clamp_min(0)
        return torch.sigmoid(torch.einsum("co,bohw->bchw", second, hidden))

    keep, reduce = mask(module.keep, MAPS), mask(module.reduce, found.normalised)
    torch.testing.assert_close(found.kept, keep * MAPS, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.reduced, reduce * found.normalised, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.purified, keep * found.reduced + reduce * found.kept, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_published_mask_of_the_normalised_map_is_the_same_for_every_image():
    """GAP(IN(F)) is the norm's shift, whatever F: so pooled m_r is one constant, and spatial m_r is not."""
    for masks, alike in (("pooled", True), ("spatial", False)):
        module = purifier(masks)
        reduce = module.reduce(module(MAPS).normalised).mean((2, 3))
        assert torch.allclose(reduce[0], reduce[1], atol=1e-5) == alike


@torch.no_grad()
def test_running_statistics_are_for_evaluation_alone():
    kept, plain = (Purifier(32, running=running) for running in (True, False))
    kept.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(kept(MAPS), plain(MAPS))
    images = MAPS.mean((2, 3)), MAPS.flatten(2).var(2)
    mean, var = (0.1 * part.mean(0) + 0.9 * start for part, start in zip(images, (0, 1), strict=True))
    expected = (MAPS - mean[:, None, None]) / (var[:, None, None] + kept.norm.eps).sqrt()
    torch.testing.assert_close(kept.eval()(MAPS).normalised, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(kept.norm(MAPS), expected, atol=1e-5, rtol=1e-5)


def test_one_place_is_refused():
    with pytest.raises(ValueError, match="one place"):
        purifier("spatial")(MAPS[:, :, :1, :1])
