"""Small films for tests: rendered people who walk before a still scene, and pictures written as video by PyAV."""

import math
from fractions import Fraction

import av
import numpy as np
from PIL import Image

from crossreid.data.synthetic.canvas import View
from crossreid.data.synthetic.people import person
from crossreid.data.synthetic.people_body import draw_body


def scene(size, seed=0):
    """A still picture `(H, W, 3)` uint8 in colour: soft patches, with a texture."""
    height, width = size
    draw = np.random.default_rng(seed)
    patches = Image.fromarray(draw.integers(60, 190, (4, 6, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    return np.clip(np.asarray(patches) + draw.normal(0, 4, (height, width, 1)), 0, 255).astype(np.uint8)


def walking_people(count, size, *, people=2, grey=False, noise=2.0, seed=0, still=0):
    """Frames `(H, W, 3)` of people who cross a scene, and of each frame the boxes `(n, 4)` of those who are wholly in it.

    For the first `still` frames there is nobody.
    """
    height, width = size
    draw = np.random.default_rng(seed)
    ground = scene(size, seed)
    if grey:
        ground = np.repeat(ground.mean(2, keepdims=True), 3, axis=2).astype(np.uint8)
    frames, truth = [], []
    for number in range(count):
        frame, boxes = ground.copy(), []
        for who in range(people if number >= still else 0):
            walker, body = person(seed, who), 0.55 * height
            along = (number - still) / max(1, count - still - 1)
            along = along if who % 2 == 0 else 1 - along
            feet = height * (0.7 + 0.25 * (who + 1) / people)
            view = View(math.pi / 2 if who % 2 == 0 else -math.pi / 2, (0.1 + 0.8 * along) * width, feet, body)

            def colour(part, walker=walker):
                if grey:
                    return (int(255 * (0.82 if part == "skin" else getattr(walker.infrared, part))),) * 3
                return getattr(walker.visible, part)

            canvas = Image.fromarray(frame)
            draw_body(canvas, walker.shared, view, number / 6, 0.5, colour)
            after = np.asarray(canvas)
            rows, columns = np.nonzero((after != frame).any(2))
            boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
            frame = after
        shade = draw.normal(0, noise, (height, width, 1 if grey else 3))
        frames.append(np.clip(frame + shade, 0, 255).astype(np.uint8))
        truth.append(np.array(boxes, dtype=np.float32).reshape(-1, 4))
    return frames, truth


def write_film(path, images, *, rate=10, codec="libx264", times=None, options=None, metadata=None, gop=8, format=None):
    """Write pictures `(H, W, 3)` as a film, of good quality.

    Args:
        times: of each picture, in 1/rate seconds; by default one after the other.
        options: of the container, {"movflags": "faststart"} for example.
    """
    quality = {"crf": "10", "preset": "ultrafast", "bf": "2"} if codec == "libx264" else {}
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size, stream.options = gop, quality
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def overlaps(boxes, others):
    """Intersection over union of each box `(N, 4)` with each other one `(M, 4)`."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [(these[:, 2:] - these[:, :2]).prod(1) for these in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)
