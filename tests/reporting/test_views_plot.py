"""Figures and tables of views whose numbers are known."""

import io

import numpy as np
import pytest
from rich.console import Console

from crossreid.analysis.pair_distances import BINS
from crossreid.reporting.drawing import save
from crossreid.reporting.views_plot import draw_attention, draw_cameras, draw_distances, draw_images, overlaid
from crossreid.reporting.views_table import attention_table, cameras_table, distances_table, images_table
from few_fits import quick_drawings

IMAGES = {
    "data": "d", "protocol": "mars", "counts": [4, 1, 0],
    "rows": [
        {"name": name, "run": "r", "seed": seed, "direction": "", "side": side, "images": count,
         "rank-1": 0.5 + 0.1 * place + 0.02 * seed, "mAP": 0.3 + 0.1 * place}
        for name in ("teacher", "student") for seed in (0, 1) for side in ("gallery", "query")
        for place, count in enumerate((1, 4, 0))
    ],
}  # fmt: skip
CAMERAS = {
    "data": "d", "divisions": 2,
    "rows": [
        {"name": name, "run": "r", "seed": 0, "modality": "visible", "images": 9,
         "readings": [{"division": 0, "accuracy": 0.4, "prior": 0.2, "share": 0.1},
                      {"division": 1, "accuracy": 0.6, "prior": 0.2, "share": 0.3}]}
        for name in ("teacher", "untrained")
    ],
}  # fmt: skip


def histogram(**counts):
    values = np.zeros(BINS, dtype=int)
    for place, count in counts.items():
        values[int(place.removeprefix("at_"))] = count
    return values.tolist()


def kind(mean, **counts):
    return {"pairs": sum(counts.values()), "mean": mean, "deviation": 0.1, "histogram": histogram(**counts)}


DISTANCES = {
    "data": "d", "metric": "cosine", "place": "camera",
    "rows": [
        {"name": "teacher", "run": "r", "seed": seed, "images": 9, "auc": 0.8 + 0.1 * seed,
         "kinds": {"same": kind(0.1, at_20=3), "across": kind(0.2, at_40=1, at_41=3), "different": kind(1.0, at_200=8)}}
        for seed in (0, 1)
    ],
}  # fmt: skip
ATTENTION = {
    "data": "d", "seed": 0,
    "rows": [
        {"name": name, "run": "r", "seed": 0, "image": image, "identity": "7", "camera": 2, "modality": "visible",
         "similarity": 0.875, "size": [64, 32],
         "maps": [{"encoder": encoder, "heat": [[0.0, 0.0], [0.0, 2.0]]} for encoder in encoders]}
        for image in ("a.png", "b.png")
        for name, encoders in (("vkd", ["network.encoder.backbone"]),
                               ("vd", ["visible.encoder.backbone", "shared.encoder.backbone"]))
    ],
}  # fmt: skip
PICTURES = {name: np.full((40, 20, 3), 128, dtype=np.uint8) for name in ("a.png", "b.png")}


def printed(view):
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(view)
    return console.export_text()


def test_curves_go_through_the_means_with_whole_tracklets_last():
    drawn = draw_images(IMAGES)
    assert [axes.get_title("left") for axes in drawn.axes[::2]] == ["an image to n images", "n images to video"]
    assert [axes.get_ylabel() for axes in drawn.axes] == 2 * ["rank-1, %", "mAP, %"]
    for axes in drawn.axes[::2]:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4", "all"]
        for line in axes.lines:
            np.testing.assert_allclose(line.get_xdata(), [0, 2, 3])
            np.testing.assert_allclose(line.get_ydata(), [51, 61, 71])


def test_each_direction_across_modalities_has_its_panels_and_its_table():
    rows = [{**row, "direction": direction} for direction in ("a to b", "b to a") for row in IMAGES["rows"]]
    drawn = draw_images({**IMAGES, "rows": rows})
    assert len(drawn.axes) == 8
    assert "b to a, n images to video" in [axes.get_title("left") for axes in drawn.axes]
    assert printed(images_table({**IMAGES, "rows": rows})).count("61.0±1.4") == 8


def test_every_division_is_a_dot_and_the_prior_a_line():
    axes = draw_cameras(CAMERAS).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [dot.get_xdata().round(6).tolist() for dot in dots] == [[40, 60], [40, 60]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["teacher", "untrained"]
    upright = {round(float(line.get_xdata()[0]), 6) for line in axes.lines if len(set(line.get_xdata())) == 1}
    assert upright == {20.0, 50.0}


def test_each_kind_of_pairs_adds_up_to_all_of_it():
    drawn = draw_distances(DISTANCES)
    assert [axes.get_title("left") for axes in drawn.axes] == ["teacher: AUC 0.850"]
    steps = [patch.get_data() for patch in drawn.axes[0].patches]
    assert len(steps) == 6  # filled and outlined
    for values, edges, _ in steps:
        assert values.sum() == pytest.approx(100)
        assert (edges[0], edges[-1]) == (0, 2)


def test_a_row_is_an_image_and_a_column_an_encoder():
    drawn = draw_attention(ATTENTION, PICTURES)
    shown = drawn.axes[:8]
    assert [axes.get_title("left") for axes in shown[:4]] == ["image", "vkd", "vd", "vd"]
    assert [axes.get_xlabel() for axes in shown[4:]] == ["camera 2", "0.88", "visible, 0.88", "shared, 0.88"]


def test_a_map_that_is_nowhere_above_zero_is_told_of():
    dark = {**ATTENTION["rows"][0], "maps": [{"encoder": "network.encoder.backbone", "heat": [[0.0, 0.0]]}]}
    assert draw_attention({**ATTENTION, "rows": [dark]}, PICTURES).axes[1].get_xlabel() == "0.88 (none)"


def test_heat_lies_over_the_part_that_it_is_of():
    picture = PICTURES["a.png"]
    blended = overlaid(picture, np.array([[0.0, 0.0], [0.0, 3.0]]))
    assert blended.shape == picture.shape
    brightness = blended.mean(2)
    assert brightness[30:, 15:].min() > brightness[:10].max()
    np.testing.assert_allclose(overlaid(picture, np.zeros((2, 2))).std(axis=(0, 1)), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("drawing", "suffixes"),
    [(lambda: draw_images(IMAGES), [".svg"]), (lambda: draw_cameras(CAMERAS), [".svg", ".png"]),
     (lambda: draw_distances(DISTANCES), [".svg"]), (lambda: draw_attention(ATTENTION, PICTURES), [".svg"])],
)  # fmt: skip
def test_figures_are_written_the_same_each_time(drawing, suffixes, tmp_path, monkeypatch):
    """An SVG names its parts, at random if nobody sees to it, and dates itself; of one figure the PNG is compared too."""
    if suffixes == [".svg"]:
        quick_drawings(monkeypatch)
    one, two = (save(drawing(), tmp_path / name, "figure") for name in ("one", "two"))
    assert [path.suffix for path in one] == suffixes
    for first, second in zip(one, two, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_tables_give_means_and_deviations():
    assert "51.0±1.4" in printed(images_table(IMAGES))
    assert "50.0 ± 14.1" in printed(cameras_table(CAMERAS))
    shown = printed(distances_table(DISTANCES))
    assert "0.200 ± 0.100" in shown
    assert "0.850 ± 0.071" in shown
    assert "0.875" in printed(attention_table(ATTENTION))
