"""What is behind and in front of any subject, and the effects of lens, light and sensor."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from crossreid.data.records import Modality
from crossreid.data.synthetic.cameras import Camera, Exposure
from crossreid.data.synthetic.canvas import darker

# Bodies are drawn at twice the size and downscaled, which smooths their edges.
OVER = 2


def backdrop(camera: Camera, where: int, size: tuple[int, int]) -> Image.Image:
    """Return a crop of the camera's scene, chosen by `where`."""
    height, width = size
    scene = _scene(camera.scene, camera.modality == Modality.INFRARED, height, int(width * 2.2))
    left = where % max(1, scene.width - width)
    return scene.crop((left, 0, left + width, height))


@functools.lru_cache(maxsize=32)
def _scene(name: str, infrared: bool, height: int, width: int) -> Image.Image:
    """Draw a camera's whole scene; leaves and cloth are bright in near-infrared light, sky and asphalt dark."""
    draw = np.random.default_rng(sum(name.encode()))
    wall, floor, detail, horizon, kind = {
        "corridor": ((196, 188, 172), (132, 122, 108), (150, 104, 66), 0.68, "panels"),
        "hall": ((168, 176, 186), (104, 110, 120), (206, 208, 204), 0.62, "panels"),
        "street": ((150, 140, 134), (112, 114, 120), (92, 74, 66), 0.58, "houses"),
        "park": ((96, 128, 84), (142, 136, 112), (58, 84, 50), 0.55, "trees"),
        "avenue": ((158, 168, 160), (108, 110, 112), (70, 98, 62), 0.34, "trees"),
        "junction": ((146, 142, 140), (92, 94, 100), (110, 96, 88), 0.42, "houses"),
        "forest": ((62, 78, 48), (92, 84, 58), (40, 54, 32), 0.62, "trees"),
        "clearing": ((112, 128, 88), (152, 142, 92), (66, 88, 52), 0.48, "trees"),
        "snow": ((150, 158, 160), (214, 218, 222), (86, 92, 84), 0.5, "trees"),
    }[name]
    if infrared:
        wall, floor, detail = {
            "hall": ((108,) * 3, (64,) * 3, (136,) * 3),
            "park": ((150,) * 3, (84,) * 3, (186,) * 3),
        }[name]
    image = Image.new("RGB", (width, height), wall)
    pen = ImageDraw.Draw(image)
    line = int(height * horizon)
    for _ in range(9):
        x, w = int(draw.integers(0, width)), int(draw.integers(width // 24, width // 8))
        shade = tuple(int(np.clip(c * draw.uniform(0.8, 1.2), 0, 255)) for c in detail)
        if infrared:
            shade = (shade[0],) * 3
        if kind == "trees":
            top = int(draw.uniform(0, 0.35) * height)
            pen.ellipse((x - w, top, x + w, line + int(0.05 * height)), fill=shade)
            trunk = tuple(int(c * 0.55) for c in shade)
            pen.rectangle((x - w // 10, line - height // 8, x + w // 10, line + height // 20), fill=trunk)
        elif kind == "houses":
            top = int(draw.uniform(0.02, 0.4) * height)
            pen.rectangle((x, top, x + w, line), fill=shade)
            glass = tuple(int(c * 1.35) for c in shade)
            for row in range(top + 8, line - 16, 26):
                pen.rectangle((x + w // 6, row, x + w - w // 6, row + 12), fill=glass)
        else:
            top = int(draw.uniform(0.1, 0.3) * height)
            pen.rectangle((x, top, x + w, line), fill=shade, outline=tuple(int(c * 0.8) for c in wall))
    pen.rectangle((0, line, width, height), fill=floor)
    for step in range(1, 6):
        y = line + (height - line) * step * step // 30
        pen.line((0, y, width, y), fill=tuple(int(c * 0.88) for c in floor), width=2)
    grain = draw.normal(0, 5, size=(height // 4, width // 4)).repeat(4, 0).repeat(4, 1)
    values = np.asarray(image)[: grain.shape[0], : grain.shape[1]].astype(np.float32) + grain[..., None]
    ramp = np.linspace(1.06, 0.92, values.shape[0], dtype=np.float32)[:, None, None]
    textured = Image.fromarray(np.clip(values * ramp, 0, 255).astype(np.uint8))
    return textured.filter(ImageFilter.BoxBlur(2)).resize((width, height))


def occlude(canvas: Image.Image, seen: Exposure, camera: Camera) -> None:
    """Draw an occluder in front: a counter or hedge below, a post or another wall at a side."""
    if seen.occlusion == "none":
        return
    width, height = canvas.size
    spot = (seen.backdrop % width, height // 3)
    fill = darker(canvas, spot, 0.7)
    at = seen.occlusion_at
    box = {
        "bottom": (0, height * (1 - at), width, height),
        "left": (0, 0, width * at, height),
        "right": (width * (1 - at), 0, width, height),
    }[seen.occlusion]
    ImageDraw.Draw(canvas).rectangle(box, fill=fill, outline=darker(canvas, spot, 0.5), width=3)


@functools.lru_cache(maxsize=8)
def lamp(height: int, width: int, infrared: bool) -> np.ndarray:
    """Return the light over the frame: an infrared lamp is brightest in the centre, room light comes from above."""
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    if infrared:
        return (1.12 - 0.42 * np.clip(x**2 * 0.7 + y**2 * 0.6, 0, 1))[..., None].astype(np.float32)
    return (1.04 - 0.1 * y + 0 * x)[..., None].astype(np.float32)


@functools.lru_cache(maxsize=4)
def noise_bank() -> np.ndarray:
    """Return a million numbers of standard deviation 1, always the same, from which noise is cut."""
    return np.random.default_rng(0).standard_normal(1 << 20, dtype=np.float32)


def expose(image: Image.Image, camera: Camera, seen: Exposure, draw: np.random.Generator) -> np.ndarray:
    """Apply the sensor to an image: blurred, lit and noisy `(height, width, 3)` uint8 (infrared: equal channels)."""
    if seen.blur > 0.3:
        image = image.filter(ImageFilter.GaussianBlur(seen.blur * image.height / 256))
    values = np.asarray(image, dtype=np.float32)
    height, width = values.shape[:2]
    infrared = camera.modality == Modality.INFRARED
    gain = np.array(camera.tint, dtype=np.float32) * np.float32(seen.light)
    channels = 1 if infrared else 3
    count = height * width * channels
    start = int(draw.integers(0, (1 << 20) - count)) if count < 1 << 20 else 0
    bank = noise_bank()
    noise = np.resize(bank, count) if count >= 1 << 20 else bank[start : start + count]
    values = values * (gain * lamp(height, width, infrared)) + camera.noise * noise.reshape(height, width, channels)
    return np.clip(values, 0, 255).astype(np.uint8)
