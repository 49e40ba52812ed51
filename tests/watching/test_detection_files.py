"""Detections that other programs made: MOT Challenge, COCO, JSON lines, CSV, supervision and FiftyOne."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import supervision

from crossreid.data.records import VISIBLE, DataError
from crossreid.watching.cameras import Camera
from crossreid.watching.detectors.detector_registry import detector_of
from crossreid.watching.detectors.known_detections import from_fiftyone, from_fiftyone_video, from_supervision
from crossreid.watching.frames import Frame

GATE, YARD = Camera("gate", 1, "gate.mp4"), Camera("yard", 2, "yard.mp4")
BOXES = {0: [(10, 20, 30, 60), (50, 10, 70, 50)], 2: [(12, 20, 32, 60)]}
SCORES = {0: [0.9, 0.4], 2: [0.8]}
MOT = "1,-1,10,20,20,40,0.9,-1,-1,-1\n3,-1,12,20,20,40,0.8,-1,-1,-1\n1,-1,50,10,20,40,0.4,-1,-1,-1\n"
LINES = "".join(
    json.dumps({"frame": frame, "box": box, "score": score}) + "\n"
    for frame in BOXES
    for box, score in zip(BOXES[frame], SCORES[frame], strict=True)
)
CORNERS = "frame,left,top,right,bottom,score\n0,10,20,30,60,0.9\n0,50,10,70,50,0.4\n2,12,20,32,60,0.8\n"
SIZES = "frame,left,top,width,height,score\n0,10,20,20,40,0.9\n0,50,10,20,40,0.4\n2,12,20,20,40,0.8\n"
RESULTS = [
    {"image_id": 0, "category_id": 1, "bbox": [10, 20, 20, 40], "score": 0.9},
    {"image_id": 0, "category_id": 1, "bbox": [50, 10, 20, 40], "score": 0.4},
    {"image_id": 2, "category_id": 1, "bbox": [12, 20, 20, 40], "score": 0.8},
]


def annotations(images, **more):
    rows = [{**row, "image_id": images[row["image_id"]]["id"]} for row in RESULTS]
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "person"}], **more}


def frame(index, camera="gate"):
    return Frame(camera, index, 0.0, np.zeros((80, 100, 3), np.uint8), VISIBLE)


def check(detector, scores=SCORES):
    for index in range(4):
        found = detector.detect(frame(index))
        assert found.boxes.tolist() == [list(map(float, box)) for box in BOXES.get(index, [])]
        assert found.scores.tolist() == pytest.approx(scores.get(index, []))


NAMED = [{"id": 7 + number, "file_name": f"gate/f{number + 9}.jpg"} for number in range(3)]  # f9, f10, f11


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("det.txt", MOT),
        ("spaces.txt", MOT.replace(",", " ")),
        ("lines.jsonl", LINES),
        ("corners.csv", CORNERS),
        ("sizes.csv", SIZES),
        ("results.json", json.dumps(RESULTS)),
        ("named.json", json.dumps({**annotations(NAMED), "images": NAMED[::-1]})),
        ("zero.json", json.dumps(annotations([{"id": number, "frame_id": number} for number in range(3)]))),
        ("one.json", json.dumps(annotations([{"id": number, "frame_id": number + 1} for number in range(3)]))),
        ("frame.json", json.dumps(annotations([{"id": number, "frame": number} for number in range(3)]))),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)  # fmt: skip
def test_a_file_is_joined_to_the_frames_by_their_positions(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    check(detector_of(str(tmp_path / name))(GATE))


def test_scores_and_sizes_are_limited_and_boxes_cut_to_the_frame(tmp_path):
    (tmp_path / "det.txt").write_text(MOT + "2,-1,-5,-5,20,20,0.7\n2,-1,90,70,50,50,0.6\n2,-1,200,0,20,20,0.9\n")
    detector = detector_of(str(tmp_path / "det.txt"), minimum_score=0.5, minimum_size=(12, 5))(GATE)
    assert detector.detect(frame(0)).scores.tolist() == pytest.approx([0.9])
    assert detector.detect(frame(1)).boxes.tolist() == [
        [0, 0, 15, 15]
    ]  # the second is cut to (10, 10), the third lies outside


def test_ground_truth_and_unscored_rows(tmp_path):
    (tmp_path / "gt.txt").write_text(
        "1,1,10,20,20,40,1,1,1\n1,2,50,10,20,40,1,1,0.5\n1,9,0,0,50,50,0,12,1\n3,1,12,20,20,40,1,1,1\n"
    )
    detector = detector_of(str(tmp_path / "gt.txt"))(GATE)
    check(detector, {0: [1, 1], 2: [1]})
    assert detector.notes == ("left out, 1: rows not to be considered (for example line 3)",)
    (tmp_path / "det.txt").write_text(MOT.replace("0.9", "-1").replace("0.4", "-1").replace("0.8", "-1"))
    check(detector_of(str(tmp_path / "det.txt"))(GATE), {0: [1, 1], 2: [1]})


def test_scores_out_of_range_are_scaled_and_that_is_said(tmp_path):
    (tmp_path / "det.txt").write_text(MOT.replace("0.9", "3").replace("0.4", "-2").replace("0.8", "0.5"))
    detector = detector_of(str(tmp_path / "det.txt"))(GATE)
    check(detector, {0: [1, 0], 2: [0.5]})
    assert detector.notes == ("scores: -2 to 3 in the file, scaled to 0 to 1",)


def test_boxes_without_an_area_are_left_out_and_that_is_said(tmp_path):
    (tmp_path / "det.csv").write_text(SIZES + "3,5,5,0,9,0.5\n")
    detector = detector_of(str(tmp_path / "det.csv"))(GATE)
    check(detector)
    assert detector.notes == ("left out, 1: boxes without area (for example in frame 3)",)


@pytest.mark.parametrize("name", ["gate.txt", "gate.jsonl", "gate/det/det.txt", "gate/gt/gt.txt"])
def test_a_folder_has_a_file_for_each_camera(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(LINES if name.endswith("l") else MOT)
    (tmp_path / "yard.txt").write_text("4,-1,1,1,9,9,0.5\n")
    make = detector_of(str(tmp_path))
    check(make(GATE))
    assert make(YARD).detect(frame(3, "yard")).boxes.tolist() == [[1, 1, 10, 10]]
    with pytest.raises(DataError, match="camera 'lane'"):
        make(Camera("lane", 3, "lane.mp4"))


def test_one_file_may_hold_several_cameras(tmp_path):
    other = '{"frame": 3, "box": [1, 1, 10, 10], "camera": "yard", "label": "dog"}\n'
    (tmp_path / "both.jsonl").write_text(LINES.replace("}", ', "camera": "gate"}') + other)
    make = detector_of(str(tmp_path / "both.jsonl"))
    check(make(GATE))
    assert make(YARD).detect(frame(3, "yard")).scores.tolist() == [1]
    with pytest.raises(DataError, match="It has: gate, yard"):
        make(Camera("lane", 3, "lane.mp4"))
    images = [{"id": n, "video_id": 5, "frame_id": n, "file_name": f"{n}.jpg"} for n in range(3)]
    images.append({"id": 9, "video_id": 6, "frame_id": 0})
    videos = annotations(images, videos=[{"id": 5, "name": "gate"}, {"id": 6, "name": "yard.mp4"}])
    videos["annotations"].append({"image_id": 9, "bbox": [1, 1, 9, 9]})
    (tmp_path / "videos.json").write_text(json.dumps(videos))
    check(detector_of(str(tmp_path / "videos.json"))(GATE))
    assert len(detector_of(str(tmp_path / "videos.json"))(YARD).detect(frame(0, "yard"))) == 1
    images = [{"id": n, "file_name": f"set/gate/img1/{n:06}.jpg"} for n in range(3)]
    folders = annotations([*images, {"id": 9, "file_name": "set/yard/img1/000001.jpg"}])
    (tmp_path / "folders.json").write_text(json.dumps(folders))
    check(detector_of(str(tmp_path / "folders.json"))(GATE))
    (tmp_path / "one.txt").write_text(MOT)
    with pytest.raises(DataError, match=r"yard\.txt for example"):
        detector_of(str(tmp_path / "one.txt"))(YARD)


def test_classes_are_chosen_by_their_names(tmp_path):
    (tmp_path / "d.jsonl").write_text(
        LINES.replace("}", ', "label": "Person"}') + '{"frame": 1, "box": [1, 1, 5, 5], "label": "dog"}\n'
    )
    check(detector_of(str(tmp_path / "d.jsonl"), classes=("person",))(GATE))
    with pytest.raises(DataError, match="Found: Person, dog"):
        detector_of(str(tmp_path / "d.jsonl"), classes=("cat",))(GATE)
    (tmp_path / "d.json").write_text(json.dumps(annotations([{"id": n, "frame": n} for n in range(3)])))
    check(detector_of(str(tmp_path / "d.json"), classes=("person",))(GATE))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "0,-1,1,1,5,5,1\n", "line 1: expected frame"),
        ("a.txt", MOT + "4,-1,1,1\n", "line 4: expected frame"),
        ("a.txt", "1,-1,a,1,5,5,1\n", "line 1"),
        ("a.jsonl", LINES + "{", "line 4"),
        ("a.jsonl", '{"frame": 0, "box": [1, 1, 5]}', "line 1"),
        ("a.jsonl", '{"frame": -1, "box": [1, 1, 5, 5]}', "line 1"),
        ("a.jsonl", '{"frame": 0, "box": [1, 1, 5, 5], "score": 7}', "line 1"),
        ("a.jsonl", '{"frame": 0, "box": [1, 1, 5, 5], "scores": 1}', "unknown key 'scores'"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", '{"images": []}', "annotations"),
        ("a.json", '[{"image_id": "x", "bbox": [1, 1, 5, 5]}]', "image_id"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 1, 5]}]', "expected bbox"),
        ("a.json", '[{"image_id": 0, "bbox": [1, 1, 5, 5], "score": 50}]', "score from 0 to 1"),
        ("a.json", '{"images": [{"id": 1, "frame": 0}], "annotations": [{"image_id": 2}]}', "not one of the images"),
        ("a.csv", "frame,x,y\n0,1,1\n", "expected a header"),
        ("a.csv", CORNERS + "x,1,1,5,5,1\n", "line 5"),
        ("a.csv", CORNERS + "3,1,1,5,5,1,7\n", "line 5: expected 6 columns"),
        ("a.csv", CORNERS + "3,1,nan,5,5,1\n", "finite"),
        ("a.txt", "1e300,-1,1,1,5,5,1\n", "positions of frames"),
        ("a.json", '{"images": [{"id": [1], "frame": 0}], "annotations": [{"image_id": {}}]}', "not one of the images"),
        ("a.csv", CORNERS + "-1,1,1,5,5,1\n", "line 5"),
        ("a.xml", "<a/>", "expected detections as .txt"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said) as refused:
        detector_of(str(tmp_path / name))(GATE)
    assert str(tmp_path / name) in str(refused.value)


def test_detections_of_supervision():
    found = supervision.Detections(
        xyxy=np.array([[10, 20, 30, 60], [50, 10, 70, 50]], dtype=float),
        confidence=np.array([0.9, 0.4]),
        class_id=np.array([0, 16]),
        data={"class_name": np.array(["person", "dog"])},
    )
    ours = from_supervision(found)
    assert ours.boxes.tolist() == [[10, 20, 30, 60], [50, 10, 70, 50]]
    assert ours.scores.tolist() == pytest.approx([0.9, 0.4])
    assert from_supervision(found, ["person"]).boxes.tolist() == [[10, 20, 30, 60]]
    assert from_supervision(found, [16]).boxes.tolist() == [[50, 10, 70, 50]]
    assert len(from_supervision(supervision.Detections.empty())) == 0
    bare = supervision.Detections(xyxy=np.array([[1.0, 1, 5, 5]]))
    assert from_supervision(bare).scores.tolist() == [1]
    with pytest.raises(DataError, match="no classes"):
        from_supervision(bare, ["person"])


class Sample(dict):
    """What is used of FiftyOne's samples and frames: fields by their names, and the attributes that a test gives."""

    def __init__(self, attributes, **fields):
        super().__init__(fields)
        self.__dict__ |= attributes


def fiftyone_detections(*rows):
    return SimpleNamespace(
        detections=[SimpleNamespace(label=label, bounding_box=box, confidence=score) for label, box, score in rows]
    )


def test_detections_of_fiftyone():
    held = fiftyone_detections(("person", [0.1, 0.25, 0.2, 0.5], 0.9), ("dog", [0.5, 0.125, 0.2, 0.5], None))
    photograph = Sample({"filepath": "a.jpg", "metadata": SimpleNamespace(width=100, height=80)}, people=held)
    ours = from_fiftyone(photograph, field="people")
    assert ours.boxes == pytest.approx(np.array(BOXES[0], dtype=float))
    assert ours.scores.tolist() == pytest.approx([0.9, 1.0])
    assert from_fiftyone(held, (80, 100), classes=["dog"]).scores.tolist() == [1]
    one = Sample({"detections": held}, detections=held)  # a frame, whose fields are attributes too
    assert len(from_fiftyone(one, (80, 100))) == 2
    with pytest.raises(DataError, match="size"):
        from_fiftyone(held)
    with pytest.raises(DataError, match="no field 'detections'"):
        from_fiftyone(photograph)
    rows = [("person", [box[0] / 100, box[1] / 80, 0.2, 0.5], 0.9) for box in (*BOXES[0], *BOXES[2])]
    frames = {
        1: Sample({}, detections=fiftyone_detections(*rows[:2])),
        2: Sample({}, detections=None),
        3: Sample({}, detections=fiftyone_detections(rows[2])),
    }
    video = Sample({"frames": frames, "metadata": SimpleNamespace(frame_width=100, frame_height=80)})
    known = from_fiftyone_video(video)
    for index in range(3):
        assert known.detect(frame(index)).boxes == pytest.approx(
            np.array(BOXES.get(index, [])).reshape(-1, 4), abs=1e-4
        )
