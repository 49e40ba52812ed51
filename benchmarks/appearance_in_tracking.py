"""The gain from appearance in tracking: identity switches and IDF1 of rendered people who occlude each other.

    python benchmarks/appearance_in_tracking.py --weights tf_efficientnet_lite0.safetensors \\
        --json benchmarks/results/appearance_in_tracking_cpu.json

Each scene shows people who walk, turn round and stand for a while in front of one camera with a pillar. Detections are
the true boxes of everyone who is at least half visible, so that every loss or swap is due to tracking. Each tracker of
the library is scored alone and with `crossreid.watching.tracking.appearance`, by motmetrics against the people who are at
least half visible, at an intersection over union of 0.5. The network was trained on ImageNet and is not calibrated: the
thresholds are the defaults, except `--rejoin-cosine` and `--cut-cosine`, which depend on the network.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "tests" / "support")]  # machine.py; walking_people.py

TRACKERS = ("bytetrack", "ocsort", "botsort")
PEOPLE, SECONDS = 5, 30


def walk(rng: np.random.Generator) -> Any:
    """A way to and fro across the picture, with turns and stops at random moments: x, feet and height by time."""
    feet, height = float(rng.uniform(94, 112)), float(rng.uniform(52, 64))
    x, time = float(rng.uniform(20, 220)), 0.0
    corners = [(time, x)]
    while time < SECONDS:
        stay = rng.random() < 0.2
        goal = x if stay else float(rng.uniform(15, 225))
        time += float(rng.uniform(0.5, 2)) if stay else abs(goal - x) / float(rng.uniform(18, 34))
        x = goal
        corners.append((time, x))
    times, places = np.array(corners).T
    return lambda moment: (float(np.interp(moment, times, places)), feet, height)


def scene(seed: int) -> tuple[list[Any], list[Any]]:
    from walking_people import Walker, film

    rng = np.random.default_rng((seed, 77))
    who = rng.permutation(40)[:PEOPLE]
    return film(
        [Walker(int(one), walk(rng), float(rng.choice([70, 110, 250, 290]))) for one in who],
        SECONDS,
        pillar=True,
        seed=seed,
    )


def tracks_of(frames: list[Any], truth: list[Any], model: Any, tracker: str, appearance: bool, **cosines: float) -> Any:
    """`(frame, number, box)` of all tracks, and how many images were embedded."""
    from crossreid.watching.tracking.appearance import Likeness, ready, revise
    from crossreid.watching.tracking.camera_tracker import CameraTracker
    from crossreid.watching.tracking.embedding_tracklets import TrackletEmbedder
    from crossreid.watching.tracking.tracking_options import TrackingOptions
    from walking_people import RATE, detections_of

    options = TrackingOptions(tracker=tracker, **cosines)  # type: ignore[arg-type]
    found, embedder = CameraTracker("gate", options, frame_rate=RATE), TrackletEmbedder(model, keep_images=False)
    tracks = []
    for frame, shown in zip(frames, truth, strict=True):
        found.update(frame, detections_of(shown))
        over = frame is frames[-1]
        if frame.index % RATE == RATE - 1 or over:
            if appearance:
                embedder.embed([found])
                revise(found, Likeness(options), now=over)
            for track in found.tracks:
                if track.number is None and ready(track, found, now=over):
                    found.number(track)
            tracks += found.ended(now=over)
    rows = [(i, t.number, b) for t in tracks if t.number for i, b in zip(t.indexes, t.boxes, strict=True)]
    return sorted(rows, key=lambda row: row[:2]), embedder.count


def score(truth: list[Any], rows: list[Any]) -> dict[str, float]:
    import motmetrics

    from crossreid.watching.tracking.camera_tracker import overlap

    events = motmetrics.MOTAccumulator(auto_id=True)
    by_frame: dict[int, list[Any]] = {}
    for index, number, box in rows:
        by_frame.setdefault(index, []).append((number, box))
    for index, shown in enumerate(truth):
        seen, found = [one for one in shown if one.visible >= 0.5], by_frame.get(index, [])
        shares = np.array([[overlap(one.box, box) for _, box in found] for one in seen]).reshape(len(seen), len(found))
        away = np.where(shares >= 0.5, 1 - shares, np.nan)
        events.update([one.identity for one in seen], [number for number, _ in found], away)
    told = motmetrics.metrics.create().compute(events, metrics=["num_switches", "idf1", "mota"])
    return {
        "switches": int(told.num_switches.iloc[0]),
        "idf1": float(told.idf1.iloc[0]),
        "mota": float(told.mota.iloc[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", required=True, help="file with weights of tf_efficientnet_lite0")
    parser.add_argument("--scenes", type=int, default=10)
    parser.add_argument("--rejoin-cosine", type=float, default=0.7)
    parser.add_argument("--cut-cosine", type=float, default=0.4)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    from crossreid.inference.open_model import open_model
    from crossreid.runs.named_network import PretrainedNetwork
    from machine import machine

    model = open_model(PretrainedNetwork("tf_efficientnet_lite0", given.weights, 128, 64), device="cpu")
    cosines = {"rejoin_cosine": given.rejoin_cosine, "cut_cosine": given.cut_cosine}
    rows: list[dict[str, Any]] = []
    for seed in range(given.scenes):
        frames, truth = scene(seed)
        for tracker in TRACKERS:
            for appearance in (False, True):
                found, embedded = tracks_of(frames, truth, model, tracker, appearance, **cosines)
                rows.append(
                    {"scene": seed, "tracker": tracker, "appearance": appearance, "embedded": embedded}
                    | score(truth, found)
                )
                print(rows[-1])
    means = {
        f"{tracker}, {'with appearance' if appearance else 'alone'}": {
            key: float(
                np.mean([row[key] for row in rows if (row["tracker"], row["appearance"]) == (tracker, appearance)])
            )
            for key in ("switches", "idf1", "mota", "embedded")
        }
        for tracker in TRACKERS
        for appearance in (False, True)
    }
    for name, mean in means.items():
        print(
            f"{name}: {mean['switches']:.1f} switches a scene, IDF1 {mean['idf1']:.3f}, {mean['embedded']:.0f} images embedded"
        )
    if given.json:
        told = {"machine": machine(), "people": PEOPLE, "seconds": SECONDS, **cosines, "means": means, "scenes": rows}
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
