"""Images and videos on either side of a comparison, against sets put together by hand."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from crossreid.data.catalogue import load
from crossreid.data.images import load_image
from crossreid.data.records import DataError, Modality, Record
from crossreid.data.synthetic import synthesise
from crossreid.data.tracklets import tracklets_of
from crossreid.data.transforms import EvalTransform
from crossreid.evaluation.embedding import EvaluationOptions, Pixels, embed_sets
from crossreid.evaluation.features import features_of
from crossreid.evaluation.procedure import evaluate
from crossreid.evaluation.sets import SetSetting, set_features, settings_of
from crossreid.runs.recipe import make_recipe
from crossreid.runs.scoring import comparisons, embed_compared, score_sets

READING = {"height": 32, "width": 16, "options": EvaluationOptions(batch=16)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("films")
    for layout in ("mars", "tracklets", "veri-776"):
        synthesise(place / layout, layout, 8, 3, images_per_camera=6, size=(32, 16), workers=1)
    return place


def looked_at(frames):
    """The mean of the frames' pixels, each by itself, of length 1."""
    transform = EvalTransform(32, 16)
    rows = []
    for frame in frames:
        grey = transform(load_image(frame)).mean(0).flatten()
        rows.append(torch.nn.functional.normalize(grey - grey.mean(), dim=0))
    mean = torch.stack(rows).mean(0)
    return (mean / mean.norm()).numpy()


class Counting(Pixels):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def features(self, images, modalities):
        self.seen += len(images)
        return super().features(images, modalities)


def test_an_image_is_the_first_frame_and_a_video_a_frame_of_each_chunk(world):
    split = load("mars", world / "mars")
    method = Counting()
    features = set_features(
        method, split.query, split.gallery, settings_of(("i2v", "v2v")), frames=4, first_frame=True, **READING
    )
    assert list(features) == ["image to video", "video to video"]
    asked, answering = tracklets_of(split.query), tracklets_of(split.gallery)
    for name, found in features.items():
        assert (found.roles == "query").sum() == len(asked)
        assert len(found) == len(asked) + len(answering)
        for row, film in enumerate([*asked, *answering]):
            frames = film.frames
            if row < len(asked) and name == "image to video":
                frames = frames[:1]
            elif len(frames) > 4:  # the middle of each of four equal chunks
                frames = [frames[int((chunk + 0.5) * len(frames) / 4)] for chunk in range(4)]
            np.testing.assert_allclose(found.embeddings[row], looked_at(frames), atol=1e-5)
            assert (found.identities[row], found.cameras[row]) == (film.identity, film.camera)
    every = {frame for film in answering for frame in (film.frames[0], *film.frames[:4])}
    assert method.seen < 2 * len(every)  # each image once, however many sets it is in


def test_all_images_of_a_tracklet_and_so_many_of_them(world):
    split = load("mars", world / "mars")
    settings = [SetSetting(0, None), SetSetting(2, None)]
    features = set_features(
        Pixels(), split.query, split.gallery, settings, frames=0, first_frame=True, **READING
    )  # fmt: skip
    assert list(features) == ["all images to video", "2 images to video"]
    film = tracklets_of(split.query)[0]
    np.testing.assert_allclose(features["all images to video"].embeddings[0], looked_at(film.frames), atol=1e-5)
    pair = [film.frames[int(0.25 * len(film.frames))], film.frames[int(0.75 * len(film.frames))]]
    np.testing.assert_allclose(features["2 images to video"].embeddings[0], looked_at(pair), atol=1e-5)


def test_both_directions_between_modalities(world):
    split = load("manifest", world / "tracklets")
    recipe = recipe_of("manifest", world / "tracklets", sets=["v2v", "i2v"])
    features = embed_compared(Pixels(), split, recipe)
    assert list(features) == [
        "infrared to visible, video to video", "infrared to visible, image to video",
        "visible to infrared, video to video", "visible to infrared, image to video",
    ]  # fmt: skip
    for name, found in features.items():
        asking = Modality.INFRARED if name.startswith("infrared") else Modality.VISIBLE
        assert set(found.modalities[found.roles == "query"]) == {asking}
        assert set(found.modalities[found.roles == "gallery"]) == set(Modality) - {asking}
    infrared, visible = tracklets_of(split.query), tracklets_of(split.gallery)
    first = features["infrared to visible, video to video"]
    assert (first.roles == "query").sum() == len(infrared)
    swapped = features["visible to infrared, image to video"]
    assert (swapped.roles == "query").sum() == sum(len(film.frames) for film in visible)  # each image asks
    scores = score_sets(features, split, recipe)
    assert [score.setting for score in scores] == list(features)


def recipe_of(name, root, *, sets=(), bad="stop", **options):
    data = {"name": name, "root": str(root), "height": 32, "width": 16, "workers": 0}
    return make_recipe(
        {
            "data": {**data, "options": options, "on_bad_image": bad},
            "method": {"name": "view_distillation", "backbone": {"name": "test_resnet", "weights": "none"}},
            "evaluation": {"sets": list(sets), "batch": 16},
        }
    )


def test_a_query_image_stands_for_its_tracklet_where_images_are_listed(world):
    """VeRi-776 lists query images; the video of one is the gallery's tracklet of that vehicle and camera, without the query's copy."""
    split = load("veri-776", world / "veri-776")
    recipe = recipe_of("veri-776", world / "veri-776")
    features = embed_compared(Pixels(), split, recipe)
    assert set(features) == {"image to video", "video to video", "image to image", "video to image"}
    counts = {name: tuple((f.roles == role).sum() for role in ("query", "gallery")) for name, f in features.items()}
    films = tracklets_of(split.gallery)
    assert counts["image to image"] == (len(split.query), len(split.gallery))
    assert counts["image to video"] == (len(split.query), len(films))
    assert counts["video to video"] == (len(split.query), len(films))
    first = split.query[0]
    whole = [r for r in split.gallery if (r.identity, r.camera) == (first.identity, first.camera)]
    assert first.path.name in {record.path.name for record in whole}
    whole.sort(key=lambda record: (record.frame, record.path.as_posix()))
    np.testing.assert_allclose(features["video to video"].embeddings[0], looked_at(whole), atol=1e-5)


def test_two_pictures_of_a_tracklet_are_two_queries_and_one_without_a_tracklet_asks_by_itself(world):
    split = load("veri-776", world / "veri-776")
    first = split.query[0]
    last = split.query[-1]
    own = [r for r in split.gallery if (r.identity, r.camera) == (first.identity, first.camera)]
    again = next(record for record in own if record.path.name != first.path.name)
    alone = [r for r in split.gallery if (r.identity, r.camera) != (last.identity, last.camera)]
    query = [first, replace(again, path=first.path.parent / again.path.name), last]
    found = set_features(
        Pixels(), [first, last], alone, settings_of(["v2v"]), frames=0, first_frame=False, pictures_query=True, **READING
    )["video to video"]  # fmt: skip
    np.testing.assert_allclose(found.embeddings[1], looked_at([last]), atol=1e-5)
    shutil.copy(again.path, query[1].path)
    try:
        found = set_features(
            Pixels(), query, split.gallery, settings_of(["v2v"]), frames=3, first_frame=False, pictures_query=True, **READING
        )["video to video"]  # fmt: skip
    finally:
        query[1].path.unlink()
    assert (found.roles == "query").sum() == 3
    np.testing.assert_array_equal(found.embeddings[0], found.embeddings[1])


def test_repeated_frames_count_in_the_mean(world):
    """As VKD's release: the first of chunks of ceil(length / frames), past the end the last frame again."""
    split = load("mars", world / "mars")
    found = set_features(
        Pixels(), split.query, split.gallery, settings_of(["v2v"]), frames=8, first_frame=True, place="first", **READING
    )["video to video"]  # fmt: skip
    films = tracklets_of(split.query)
    assert {len(film.frames) for film in films} & set(range(2, 8))
    for row, film in enumerate(films):
        size = -(-len(film.frames) // 8)
        frames = [film.frames[min(chunk * size, len(film.frames) - 1)] for chunk in range(8)]
        np.testing.assert_allclose(found.embeddings[row], looked_at(frames), atol=1e-5)


def test_comparisons_are_the_data_sets_own_unless_a_recipe_names_some(world):
    mars = load("mars", world / "mars")
    assert [s.name for s in comparisons(mars, recipe_of("mars", world / "mars"))] == [
        "image to video",
        "video to video",
    ]
    assert [s.name for s in comparisons(mars, recipe_of("mars", world / "mars", sets=["v2i"]))] == ["video to image"]
    assert [s.name for s in comparisons(mars, recipe_of("mars", world / "mars", sets=["i2i"]))] == ["image to image"]
    films = load("manifest", world / "tracklets")
    assert comparisons(films, recipe_of("manifest", world / "tracklets")) == []
    with pytest.raises(ValueError, match="sysu-mm01 compares single images"):
        comparisons(replace(mars, protocol="sysu-mm01"), recipe_of("mars", world / "mars", sets=["v2v"]))
    with pytest.raises(ValueError, match="unknown kind of comparison 'x2y'"):
        settings_of(["x2y"])


@pytest.fixture
def damaged(world, tmp_path):
    """A copy in which one frame of the first query tracklet is missing and one is no image."""
    shutil.copytree(world / "mars", tmp_path / "copy")
    film = next(film for film in tracklets_of(load("mars", tmp_path / "copy").query) if len(film.frames) > 3)
    film.frames[1].path.unlink()
    film.frames[2].path.write_bytes(b"no image")
    return tmp_path / "copy", film


def test_a_bad_frame_stops_or_is_left_out(damaged):
    root, film = damaged
    split = load("mars", root)
    with pytest.raises(DataError, match=film.frames[1].path.name):
        embed_compared(Pixels(), split, recipe_of("mars", root))
    with pytest.warns(UserWarning, match="2 unreadable images were left out of their sets"):
        features = embed_compared(Pixels(), split, recipe_of("mars", root, bad="skip"))["video to video"]
    row = next(row for row, name in enumerate(features.tracklets) if name == film.name)
    kept = [frame for frame in film.frames if frame not in film.frames[1:3]]
    np.testing.assert_allclose(features.embeddings[row], looked_at(kept), atol=1e-5)
    for frame in film.frames:
        frame.path.write_bytes(b"")
    with pytest.raises(DataError, match="none of the images of"):
        embed_compared(Pixels(), split, recipe_of("mars", root, bad="skip"))


def test_empty_sets_and_sides_are_refused():
    with pytest.raises(DataError, match="set 0 of 1 is empty"):
        embed_sets(Pixels(), [[]], height=32, width=16)
    with pytest.raises(DataError, match="query or gallery is empty"):
        set_features(
            Pixels(), [], [Record(Path("x"), "a")], settings_of(["v2v"]), frames=8, first_frame=True, **READING
        )


def test_none_finds_the_tracklet_that_it_is_of():
    """Cameras are unknown, so no rule of cameras leaves the query's own film out."""
    records = [
        Record(Path(f"{who}{film}{k}"), who, 0, tracklet=film) for who in "ab" for film in "st" for k in range(2)
    ]
    query = [record for record in records if record.path.name.endswith("0")]
    vectors = {record: np.eye(8)[place] for place, record in enumerate(records)}
    # The other image of one's own film is nearest: finding it would be a rank-1 of 1.
    for place in range(0, 8, 2):
        vectors[records[place + 1]] = vectors[records[place]] + 0.01
    (score,) = evaluate(features_of(query, records, vectors), "cross-modal")
    assert score.trials[0].valid_queries == 4
    assert score.rank(1) < 1
    loose = [replace(record, tracklet=None) for record in records]
    found = features_of(
        [replace(record, tracklet=None) for record in query], loose,
        {replace(record, tracklet=None): vector for record, vector in vectors.items()},
    )  # fmt: skip
    (score,) = evaluate(found, "cross-modal")
    assert score.rank(1) == 1


def test_one_camera_only_leaves_no_match(world):
    split = load("mars", world / "mars")
    alone = replace(split, query=split.query, gallery=tuple(replace(r, camera=1) for r in split.gallery))
    alone = replace(alone, query=tuple(replace(r, camera=1) for r in split.query))
    recipe = recipe_of("mars", world / "mars")
    with pytest.raises(DataError, match="match"):
        score_sets(embed_compared(Pixels(), alone, recipe), alone, recipe)


def test_validation_of_one_modality_asks_all_of_itself(world):
    split = load("mars", world / "mars", validation=3)
    recipe = recipe_of("mars", world / "mars", validation=3)
    (found,) = embed_compared(Pixels(), split, recipe, validation=True, first=True).values()
    films = tracklets_of(split.validation)
    assert len(found) == 2 * len(films)
    assert set(found.identities) == {film.identity for film in films}
