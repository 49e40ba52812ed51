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


def test_one_place_is_refused():
    with pytest.raises(ValueError, match="one place"):
        purifier("spatial")(MAPS[:, :, :1, :1])
