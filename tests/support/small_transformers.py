"""Transformers of timm's own classes, small enough to be trained and exported in a test, registered as backbones."""

import pytest
import timm
from timm.models.eva import Eva
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from timm.models.swin_transformer import SwinTransformer

from crossreid.models.backbone_registry import BACKBONES, register_backbone


def small_eva():
    """Rotary and absolute positions, SwiGLU with a norm inside: EVA-02, of three blocks."""
    return Eva(
        img_size=64, patch_size=8, embed_dim=48, depth=3, num_heads=3, mlp_ratio=2, qkv_fused=False, swiglu_mlp=True,
        scale_mlp=True, use_rot_pos_emb=True, ref_feat_shape=(8, 8), num_classes=0, global_pool="", dynamic_img_size=True,
    )  # fmt: skip


def small_swin():
    """Two stages, of two blocks and of one: windows of 4 x 4, moved in every second block."""
    return SwinTransformer(
        img_size=64, patch_size=4, window_size=4, embed_dim=24, depths=(2, 1), num_heads=(2, 4), num_classes=0, global_pool="",
        strict_img_size=False,
    )  # fmt: skip


def small_pvt():
    """Four stages of a block each, whose attention sees a smaller map of its keys."""
    return PyramidVisionTransformerV2(
        depths=(1, 1, 1, 1), embed_dims=(16, 24, 32, 48), num_heads=(1, 2, 4, 6), mlp_ratios=(2, 2, 2, 2), num_classes=0,
        global_pool="",
    )  # fmt: skip


def small_vit():
    """timm's `test_vit`, of three blocks instead of six."""
    return timm.create_model("test_vit", depth=3, num_classes=0, global_pool="")


def small_vit4():
    """Positions that are resampled, norms without a mean: timm's `test_vit4`, of two blocks instead of nine."""
    return timm.create_model("test_vit4", depth=2, num_classes=0, global_pool="")


@pytest.fixture
def small_transformers(monkeypatch):
    """They are registered for the test; use it by name."""
    BACKBONES.load()
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    for make in (small_eva, small_swin, small_pvt, small_vit, small_vit4):
        register_backbone(make.__name__)(make)
