"""Names and shapes of tensors in public files of weights, as their projects write them; tests fill them with what they need.

Sources: the model code of each project (TransReID, fast-reid, CLIP, CLIP-ReID, DINO, DINOv2, DINOv3, DeiT, MAE, Swin, torchreid).
"""

import re

import timm
import torch


def blocks(prefix, depth, width, *, layer_scale=False):
    shapes = {
        "norm1.weight": (width,), "norm1.bias": (width,), "norm2.weight": (width,), "norm2.bias": (width,),
        "attn.qkv.weight": (3 * width, width), "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
        "mlp.fc1.weight": (4 * width, width), "mlp.fc1.bias": (4 * width,),
        "mlp.fc2.weight": (width, 4 * width), "mlp.fc2.bias": (width,),
    }  # fmt: skip
    if layer_scale:
        shapes |= {"ls1.gamma": (width,), "ls2.gamma": (width,)}
    return {f"{prefix}blocks.{i}.{key}": shape for i in range(depth) for key, shape in shapes.items()}


def vit(prefix="", *, width=384, tokens=197, patch=16, layer_scale=False, depth=12):
    stem = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, tokens, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    return {prefix + key: shape for key, shape in stem.items()} | blocks(prefix, depth, width, layer_scale=layer_scale)


def clip_tower(prefix, *, tokens, width=768):
    block = {
        "attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width), "attn.out_proj.bias": (width,),
        "ln_1.weight": (width,), "ln_1.bias": (width,), "ln_2.weight": (width,), "ln_2.bias": (width,),
        "mlp.c_fc.weight": (4 * width, width), "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width), "mlp.c_proj.bias": (width,),
    }  # fmt: skip
    stem = {
        "class_embedding": (width,), "positional_embedding": (tokens, width), "proj": (width, 512),
        "conv1.weight": (width, 3, 16, 16), "ln_pre.weight": (width,), "ln_pre.bias": (width,),
        "ln_post.weight": (width,), "ln_post.bias": (width,),
    }  # fmt: skip
    rows = {f"transformer.resblocks.{i}.{key}": shape for i in range(12) for key, shape in block.items()}
    return {prefix + key: shape for key, shape in (stem | rows).items()}


def swin_original():
    """Swin's own names: a stage's downsampling at its end, `head` without `fc`, indices as buffers."""
    shapes = shapes_of("swin_tiny_patch4_window7_224", num_classes=1000)
    earlier = {re.sub(r"layers\.(\d)\.down", lambda m: f"layers.{int(m[1]) - 1}.down", k): v for k, v in shapes.items()}
    named = {f"model.{key.replace('head.fc.', 'head.')}": shape for key, shape in earlier.items()}
    return named | {"model.layers.0.blocks.0.attn.relative_position_index": (49, 49)}


def dinov3():
    shapes = vit(layer_scale=True)
    del shapes["pos_embed"]
    masks = {f"blocks.{i}.attn.qkv.bias_mask": (1152,) for i in range(12)}
    return shapes | masks | {"storage_tokens": (1, 4, 384), "mask_token": (1, 384), "rope_embed.periods": (16,)}


def shapes_of(name, **options):
    with torch.device("meta"):  # values, which nobody asks for, would take a second of each process that collects this
        network = timm.create_model(name, **options)
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


RESNET = shapes_of("resnet50", num_classes=0)

# The file's project: timm's network, the size of its images, the file's tensors, and what is said of them.
FILES = {
    "TransReID, stride 12, JPM": (
        "vit_base_patch16_224",
        (256, 128),
        {**vit("base.", width=768, tokens=211), "base.sie_embed": (6, 1, 768), "base.fc.weight": (1000, 768),
         "b1.0.norm1.weight": (768,), "b2.1.weight": (768,), "bottleneck.weight": (768,), "classifier.weight": (751, 768)},
        "read behind 'base.'; position embeddings resampled from 21 x 10 to 16 x 8 patches; "
        "left aside b1, b2, base.fc, base.sie_embed, bottleneck, classifier",
    ),
    "CLIP": (
        "vit_base_patch16_clip_224",
        (256, 128),
        {**clip_tower("visual.", tokens=197), "positional_embedding": (77, 512), "text_projection": (512, 512),
         "logit_scale": (), "token_embedding.weight": (49408, 512), "transformer.resblocks.0.ln_1.weight": (512,)},
        "position embeddings resampled from 14 x 14 to 16 x 8 patches; left aside head (2), logit_scale, positional_embedding, "
        "text_projection, token_embedding, transformer",
    ),
    "CLIP-ReID": (
        "vit_base_patch16_clip_224",
        (256, 128),
        {**clip_tower("image_encoder.", tokens=129), "prompt_learner.cls_ctx": (751, 4, 512), "classifier.weight": (751, 768)},
        "read behind 'image_encoder.'; left aside classifier, image_encoder.head (2), prompt_learner",
    ),
    "DINO, teacher and student": (
        "vit_small_patch16_224",
        (256, 128),
        {**vit("teacher.backbone."), **vit("student.module.backbone."), "teacher.head.mlp.0.weight": (2048, 384)},
        "read behind 'teacher.backbone.'; position embeddings resampled from 14 x 14 to 16 x 8 patches; "
        "left aside student (150), teacher.head",
    ),
    "DINOv2": (
        "vit_small_patch14_dinov2",
        (252, 126),
        {**vit(tokens=1370, patch=14, layer_scale=True), "mask_token": (1, 384)},
        "position embeddings resampled from 37 x 37 to 18 x 9 patches; left aside mask_token",
    ),
    "DINOv2 with registers": (
        "vit_small_patch14_reg4_dinov2",
        (252, 126),
        {**vit(tokens=1370, patch=14, layer_scale=True), "mask_token": (1, 384), "register_tokens": (1, 4, 384)},
        "position embeddings resampled from 37 x 37 to 18 x 9 patches; left aside mask_token",
    ),
    "DINOv3": ("vit_small_patch16_dinov3", (256, 128), dinov3(), "left aside mask_token"),
    "DeiT, distilled": (
        "deit_small_distilled_patch16_224",
        (256, 128),
        {**vit("model.", tokens=198), "model.dist_token": (1, 1, 384), "model.head_dist.weight": (1000, 384)},
        "read behind 'model.'; position embeddings resampled from 14 x 14 to 16 x 8 patches; left aside model.head_dist",
    ),
    "DeiT, distilled, for a network without": (
        "deit_small_patch16_224",
        (224, 224),
        {**vit("model.", tokens=198), "model.dist_token": (1, 1, 384), "model.head_dist.weight": (1000, 384)},
        "read behind 'model.'; the token of distillation left out, and its position; "
        "left aside model.dist_token, model.head_dist",
    ),
    "MAE": (
        "vit_base_patch16_224",
        (256, 128),
        {**vit("model.", width=768), "model.mask_token": (1, 1, 512), "model.decoder_pos_embed": (1, 197, 512),
         "model.decoder_blocks.0.norm1.weight": (512,)},
        "read behind 'model.'; position embeddings resampled from 14 x 14 to 16 x 8 patches; "
        "left aside model.decoder_blocks, model.decoder_pos_embed, model.mask_token",
    ),
    "Swin": (
        "swin_tiny_patch4_window7_224",
        (256, 128),
        swin_original(),
        "read behind 'model.'; 2 tables of relative positions resampled; left aside model.head (2)",
    ),
    "fast-reid": (
        "resnet50",
        None,
        {**{f"model.backbone.{key}": shape for key, shape in RESNET.items()},
         "model.heads.bottleneck.0.weight": (2048,), "model.heads.weight": (751, 2048), "model.pixel_mean": (1, 3, 1, 1)},
        "read behind 'model.backbone.'; left aside model.heads (2), model.pixel_mean",
    ),
    "torchreid's ResNet-50": (
        "resnet50",
        None,
        {**{f"state_dict.module.{key}": shape for key, shape in RESNET.items()}, "state_dict.module.classifier.weight": (9, 2048)},
        "read behind 'state_dict.module.'; left aside state_dict.module.classifier",
    ),
}  # fmt: skip


def without_memory(shapes):
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
