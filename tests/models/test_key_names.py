"""The backbone in public files of weights is found, whoever wrote them; what is left aside and resampled is said."""

import pytest
import timm
import torch
from torch import nn

from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.key_names import find_backbone
from crossreid.models.loading_notes import noted
from crossreid.models.two_stream import StageOptions, TwoStream
from crossreid.models.weights import WeightsError, load_local_weights
from public_weights import FILES, vit, without_memory
from small_backbone import build


def network_of(name, size):
    sized = {} if size is None else {"img_size": size}
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0, **sized)


@pytest.mark.parametrize("project", FILES)
def test_the_backbone_in_a_public_file_is_found(project, tmp_path, monkeypatch):
    name, size, shapes, said = FILES[project]
    monkeypatch.setattr("crossreid.models.weights.read_state", lambda path: without_memory(shapes))
    network = network_of(name, size)
    monkeypatch.setattr(network, "load_state_dict", lambda state, strict: loaded.update(state))
    loaded = {}
    with noted() as notes:
        load_local_weights(network, tmp_path / "w.pth", name)
    assert notes == [f"weights of {name} from {tmp_path / 'w.pth'}: {said}"]
    needed = {
        key: value.shape for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")
    }
    assert {key: value.shape for key, value in loaded.items() if key in needed} == needed


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(2)
    return timm.create_model("vit_tiny_patch16_224", num_classes=5, depth=2, img_size=32).eval()


def loads(state, tmp_path, **options):
    torch.save(state, tmp_path / "w.pth")
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=0, global_pool="", depth=2, **{"img_size": 32, **options}
    )
    with noted() as notes:
        load_local_weights(network, tmp_path / "w.pth", "vit")
    return network.eval(), notes


PREFIXES = (
    "",
    "module.",
    "backbone.",
    "base.",
    "model.",
    "encoder.",
    "network.",
    "student.",
    "teacher.",
    "module.net.trunk.",
)


@pytest.mark.parametrize("prefix", PREFIXES)
@torch.no_grad()
def test_names_may_begin_with_anything(small, tmp_path, prefix):
    network, notes = loads({prefix + key: value for key, value in small.state_dict().items()}, tmp_path)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network.forward_features(images), small.forward_features(images))
    assert len(notes) == 1
    assert notes[0].endswith(f"left aside {prefix}head (2)")


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "ema", "weights"])
def test_weights_may_be_wrapped(small, tmp_path, wrapper):
    network, _ = loads({wrapper: small.state_dict(), "epoch": 3}, tmp_path)
    assert torch.equal(network.pos_embed, small.pos_embed)


def test_of_two_the_averaged_one_is_taken_and_the_other_said(small, tmp_path):
    averaged = {key: value + 1 for key, value in small.state_dict().items()}
    network, notes = loads({"model": small.state_dict(), "model_ema": averaged}, tmp_path)
    assert torch.equal(network.pos_embed, small.pos_embed + 1)
    assert "read behind 'model_ema.'" in notes[0]
    assert "left aside model (" in notes[0]


@torch.no_grad()
def test_clips_tower_gives_what_its_own_names_mean(tmp_path):
    """One block of CLIP, written out with torch's own attention, against the network it is loaded into."""
    torch.manual_seed(4)
    width = 64
    block = nn.TransformerEncoderLayer(width, 1, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    inner = {
        "ln_1": block.norm1, "ln_2": block.norm2, "mlp.c_fc": block.linear1, "mlp.c_proj": block.linear2,
        "attn.out_proj": block.self_attn.out_proj,
    }  # fmt: skip
    state = {f"{key}.{kind}": getattr(layer, kind) for key, layer in inner.items() for kind in ("weight", "bias")}
    state |= {"attn.in_proj_weight": block.self_attn.in_proj_weight, "attn.in_proj_bias": block.self_attn.in_proj_bias}
    stem, before, after = nn.Conv2d(3, width, 16, 16, bias=False), nn.LayerNorm(width), nn.LayerNorm(width)
    classes, positions = torch.randn(width), torch.randn(5, width)
    tower = {f"transformer.resblocks.0.{key}": value for key, value in state.items()}
    tower |= {"class_embedding": classes, "positional_embedding": positions, "conv1.weight": stem.weight}
    tower |= {
        "ln_pre.weight": before.weight,
        "ln_pre.bias": before.bias,
        "ln_post.weight": after.weight,
        "ln_post.bias": after.bias,
    }
    torch.save({f"image_encoder.{key}": value.detach() for key, value in tower.items()}, tmp_path / "w.pth")
    network = timm.create_model(
        "vit_base_patch16_clip_224", num_classes=0, img_size=32, depth=1, embed_dim=width, num_heads=1, global_pool=""
    ).eval()
    load_local_weights(network, tmp_path / "w.pth", "clip")
    images = torch.randn(2, 3, 32, 32)
    tokens = torch.cat([classes.expand(2, 1, width), stem(images).flatten(2).mT], dim=1) + positions
    torch.testing.assert_close(network.forward_features(images), after(block(before(tokens))), atol=1e-5, rtol=1e-4)


def test_a_square_table_is_resampled_though_the_networks_own_is_as_long(small, tmp_path):
    state = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2, img_size=64).state_dict()
    network, notes = loads(state, tmp_path, img_size=(128, 32))
    assert "resampled from 4 x 4 to 8 x 2 patches" in notes[0]
    assert not torch.equal(network.pos_embed, state["pos_embed"])


def test_what_is_missing_is_refused_in_one_line(small, tmp_path):
    state = {f"backbone.{key}": value for key, value in small.state_dict().items() if "blocks.1.mlp" not in key}
    with pytest.raises(WeightsError, match=r"4 keys missing \(blocks.1.mlp.fc1.bias, .*, \.\.\.\)") as error:
        loads(state, tmp_path)
    assert "\n" not in str(error.value)


def test_a_larger_network_is_refused(small, tmp_path):
    deeper = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=3, img_size=32).state_dict()
    with pytest.raises(WeightsError, match=r"12 keys unknown \(blocks.2"):
        loads(deeper, tmp_path)


def test_chunked_blocks_of_dinov2s_training_are_one_row():
    shapes = vit(depth=2, width=192)
    chunked = {
        key.replace("blocks.1.", "blocks.1.1.").replace("blocks.0.", "blocks.0.0."): v for key, v in shapes.items()
    }
    with torch.device("meta"):
        network = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2, img_size=224)
    assert find_backbone(without_memory(chunked), network).tensors.keys() == network.state_dict().keys()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
@torch.no_grad()
def test_streams_of_this_program_are_put_together_again(name, tmp_path):
    torch.manual_seed(1)
    whole = BackboneOptions(name=name, weights="none", last_stride_one=False)
    streams = TwoStream(whole, StageOptions(stems=1, split=2)).eval()
    torch.save({f"encoder.{key}": value for key, value in streams.state_dict().items()}, tmp_path / "w.pth")
    with noted() as notes:
        backbone = build(name, weights=str(tmp_path / "w.pth"), last_stride_one=False)
    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(backbone(images), streams(images, torch.zeros(2))[0])
    assert "left aside encoder" in notes[0]
