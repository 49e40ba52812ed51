"""Networks cut at their stages: the same function as the whole, and what each modality and stream passes."""

import pytest
import torch

from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.cutting import cut, through
from crossreid.models.two_stream import StageOptions, TwoStream, by_modality
from small_transformers import small_transformers  # noqa: F401

IMAGES = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))
KINDS = torch.tensor([1, 0, 0, 1])


def options(name="test_resnet", **given):
    return BackboneOptions(name=name, weights="none", **given)


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["test_resnet", "resnet18", "densenet121", "efficientnet_b0", "convnext_atto", "regnetx_002"]
)
def test_the_runs_of_stages_are_the_network(name):
    backbone = Backbone(options(name)).eval()
    runs = cut(backbone, name).stages
    maps = IMAGES
    for run in runs:
        maps = run(maps)
    torch.testing.assert_close(maps, backbone(IMAGES))
    used = {id(p) for run in runs for p in run.parameters()}
    left = {path.split(".")[1] for path, p in backbone.named_parameters() if id(p) not in used}
    assert left <= {"head"}  # ConvNeXt's norm is of its classifier's part, which features do not pass


@torch.no_grad()
def test_bam_non_local_blocks_and_surgery_are_in_the_runs():
    given = options("resnet18", attention="bam", non_local=(0, 1, 2, 0), last_activation=False)
    backbone = Backbone(given).eval()
    maps = IMAGES
    for run in cut(backbone, "resnet18").stages:
        maps = run(maps)
    torch.testing.assert_close(maps, backbone(IMAGES))


# ViT (registers and layer scale), rotary positions with SwiGLU, learned rotary positions of each block, biases by relative
# position that blocks share, windows, and networks of convolutions and attention.
TRANSFORMERS = [
    ("test_vit3", (64, 32), 10),
    ("eva02_tiny_patch14_224", (56, 28), 13),
    ("vit_small_patch16_rope_mixed_224", (64, 32), 13),
    ("test_vit_relpos", (160, 160), 10),
    ("small_swin", (64, 32), 2),
    ("pvt_v2_b0", (64, 32), 4),
]


@pytest.mark.usefixtures("small_transformers")
@torch.no_grad()
@pytest.mark.parametrize(("name", "size", "stages"), TRANSFORMERS, ids=[name for name, *_ in TRANSFORMERS])
def test_a_transformers_stages_are_the_network(name, size, stages):
    backbone = Backbone(options(name, last_stride_one=False)).eval()
    for parameter in backbone.parameters():  # layer scales start near 0, and would hide a block
        parameter.add_(0.05 * torch.randn_like(parameter))
    found = cut(backbone, name)
    assert len(found.stages) == stages
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(through(found.stages, images, found.given(size)), backbone(images))
    cut_off = [p for module in (*found.stages, found.inputs or torch.nn.Identity()) for p in module.parameters()]
    left = {path.split(".")[1] for path, p in backbone.named_parameters() if id(p) not in {id(p) for p in cut_off}}
    assert left <= {"fc_norm"}  # of the classifier's part


@pytest.mark.parametrize("name", ["levit_128s", "cait_xxs24_224"])
def test_what_cannot_be_cut_is_refused(name):
    with pytest.raises(ValueError, match="no sequence of stages or blocks that could be cut"):
        cut(Backbone(options(name)), name)


@torch.no_grad()
@pytest.mark.parametrize(("stems", "split"), [(1, None), (0, 3), (2, 4), (7, None)])
@pytest.mark.parametrize("name", ["test_vit2"])
def test_streams_part_between_any_two_blocks(name, stems, split):
    torch.manual_seed(0)
    whole = Backbone(options(name)).eval()
    torch.manual_seed(0)
    network = TwoStream(options(name), StageOptions(stems=stems, split=split)).eval()
    before = network(IMAGES, KINDS)
    for stream in before:
        torch.testing.assert_close(stream, whole(IMAGES))
    for parameter in network.infrared_stem.parameters():
        parameter.zero_()
    after = network(IMAGES, KINDS)
    for stream, was in zip(after, before, strict=True):
        torch.testing.assert_close(stream[1:3], was[1:3])
        assert torch.allclose(stream[0], was[0]) == (stems == 0)
    if split is not None:
        assert [len(stream) for stream in network.streams] == [8 - split, 8 - split]


def test_the_stages_of_a_transformer_are_named_where_there_are_fewer():
    with pytest.raises(ValueError, match=r"split is 9, but backbone 'test_vit2' has stages 0 to 8; expected 0 to 7"):
        TwoStream(options("test_vit2"), StageOptions(split=9))


@torch.no_grad()
@pytest.mark.parametrize(("stems", "split"), [(0, None), (1, None), (0, 2), (1, 2), (2, 1), (0, 3), (5, None)])
def test_at_the_start_every_copy_is_the_whole_network(stems, split):
    torch.manual_seed(0)
    whole = Backbone(options()).eval()
    torch.manual_seed(0)
    network = TwoStream(options(), StageOptions(stems=stems, split=split)).eval()
    maps = network(IMAGES, KINDS)
    assert len(maps) == (1 if split is None else 2)
    for stream in maps:
        torch.testing.assert_close(stream, whole(IMAGES))


@torch.no_grad()
def test_stems_see_their_own_modality_and_streams_part_where_they_are_told_to():
    network = TwoStream(options(), StageOptions(stems=1, split=2)).eval()
    before = network(IMAGES, KINDS)
    for parameter in network.infrared_stem.parameters():
        parameter.zero_()
    for stream, was in zip(network(IMAGES, KINDS), before, strict=True):
        torch.testing.assert_close(stream[1:3], was[1:3])
        assert not torch.allclose(stream[[0, 3]], was[[0, 3]])
    before = network(IMAGES, KINDS)
    for parameter in network.streams[1].parameters():
        parameter.zero_()
    after = network(IMAGES, KINDS)
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])
    (alone,) = network(IMAGES, KINDS, 1)
    assert torch.equal(alone, after[0])
    assert len(network.common) == 2
    assert [len(stream) for stream in network.streams] == [2, 2]


def test_one_modality_alone_passes_in_training_too():
    network = TwoStream(options(), StageOptions(stems=1)).train()
    (maps,) = network(IMAGES, torch.zeros(4, dtype=torch.long))
    maps.sum().backward()
    assert all(p.grad is None for p in network.infrared_stem.parameters())


@pytest.mark.parametrize(("given", "named"), [({"split": 4}, "stages 0 to 4"), ({"stems": 4, "split": 2}, "3 stages"),
                                              ({"stems": 6}, "5 stages")])  # fmt: skip
def test_stages_that_are_not_there_are_refused(given, named):
    with pytest.raises(ValueError, match=named):
        TwoStream(options(), StageOptions(**given))


@pytest.mark.parametrize(("given", "maps"), [({"stems": 1}, 1), ({"split": 2}, 2), ({"stems": 5}, 2)])
def test_map_layers_give_the_maps(given, maps):
    network = TwoStream(options(), StageOptions(**given)).eval()
    seen = []
    for layer in network.map_layers:
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    network(IMAGES, KINDS)
    assert len(network.map_layers) == maps == len(seen)
    assert {output.shape[1:] for output in seen} == {(96, 4, 2)}


def test_rows_come_back_in_their_order():
    rows = torch.arange(6.0)[:, None]
    kinds = torch.tensor([1, 0, 1, 1, 0, 0])
    (found,) = by_modality(rows, kinds, lambda kind, own: (own + 100 * int(kind),))
    assert found.flatten().tolist() == [100, 1, 102, 103, 4, 5]
