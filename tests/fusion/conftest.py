"""Images of coats with patterns, and embeddings of two networks of them: what is fused, small."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from crossreid.evaluation.features import Features, positions_of, save

SHOTS, SIZE = 4, 96


def pattern(identity: int) -> np.ndarray:
    """`(H, W)` float64 in [0, 1]: blobs of one animal's coat."""
    rng = np.random.default_rng(identity)
    coarse = Image.fromarray((rng.random((14, 14)) * 255).astype(np.uint8))
    return np.asarray(coarse.resize((2 * SIZE, 2 * SIZE), Image.Resampling.BICUBIC), dtype=np.float64) / 255


def photograph(identity: int, shot: int) -> Image.Image:
    """The coat turned a little, cropped and with noise."""
    rng = np.random.default_rng(1000 * identity + shot)
    coat = Image.fromarray((pattern(identity) * 255).astype(np.uint8)).rotate(
        float(rng.uniform(-15, 15)), Image.Resampling.BICUBIC
    )
    left, top = (int(one) for one in rng.integers(36, 60, 2))
    pixels = np.asarray(coat.crop((left, top, left + SIZE, top + SIZE)), dtype=np.float64)
    return Image.fromarray(np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8))


def write_world(root: Path, identities: range) -> dict[str, Path]:
    """Photographs below `root`, and by name the features of networks a and b, each with errors of its own."""
    names, who = [], []
    for identity in identities:
        for shot in range(SHOTS):
            name = f"{identity}/{shot}.png"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            photograph(identity, shot).save(root / name)
            names.append(name)
            who.append(str(identity))
    files = {}
    for network, dimension in (("a", 6), ("b", 10)):
        means = np.random.default_rng(dimension).standard_normal((200, dimension))
        rng = np.random.default_rng(dimension + identities.start)
        rows = means[[int(one) for one in who]] + 0.9 * rng.standard_normal((len(who), dimension))
        cameras = np.arange(len(who)) % SHOTS + 1
        files[network] = root / f"{network}.npz"
        save(
            Features(
                rows.astype(np.float32), np.array(who), cameras, np.zeros(len(who), int),
                positions_of(list(zip(who, cameras.tolist(), strict=True))), np.array(names), np.full(len(who), "both"),
            ),
            files[network],
        )  # fmt: skip
    return files


@pytest.fixture(scope="session")
def coats(tmp_path_factory):
    """`tested` and `known`: files by network of different animals, and the folders that their photographs are in."""
    root = tmp_path_factory.mktemp("coats")
    tested, known = write_world(root / "tested", range(12)), write_world(root / "known", range(50, 62))
    return SimpleNamespace(
        tested=tested, known=known, images=root / "tested", known_images=root / "known", photograph=photograph
    )
