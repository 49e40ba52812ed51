"""Detectors that are networks: torchvision's with the weights of a file, and ONNX files that are exported here."""

import functools

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper
from safetensors.torch import save_file

from crossreid.data.records import VISIBLE, DataError
from crossreid.errors import CrossreidError
from crossreid.watching.cameras import Camera
from crossreid.watching.detectors.detector_registry import DETECTORS, detector_of
from crossreid.watching.detectors.torchvision_networks import NAMES
from crossreid.watching.frames import Frame

CAMERA = Camera("c", 1, "c.mp4")
NAME = "ssdlite320_mobilenet_v3_large"


def frame(image):
    return Frame("c", 0, 0.0, image, VISIBLE)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def networks():
    """The network with the classes of COCO, and one with three."""
    torch.manual_seed(0)
    build = functools.partial(torchvision.models.get_model, NAME, weights=None, weights_backbone=None)
    return {classes: build(num_classes=classes).eval() for classes in (91, 3)}


@pytest.fixture(scope="module")
def files(tmp_path_factory, networks):
    place = tmp_path_factory.mktemp("weights")
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in networks[3].state_dict().items()}}, place / "own.pth"
    )
    save_file({key: value.contiguous() for key, value in networks[91].state_dict().items()}, place / "coco.safetensors")
    return place


def test_every_detector_of_torchvision_has_its_name():
    assert set(NAMES) == set(torchvision.models.list_models(module=torchvision.models.detection))
    assert set(NAMES) < set(DETECTORS)


@pytest.mark.parametrize(
    ("file", "classes", "labels"),
    [
        ("own.pth", (), None),
        ("own.pth", ("2",), [2]),
        ("coco.safetensors", (), [1]),
        ("coco.safetensors", ("dog", "1"), [1, 18]),
    ],
)
def test_a_network_of_torchvision_gives_what_torchvision_gives(files, networks, picture, file, classes, labels):
    detector = detector_of(NAME, weights=files / file, classes=classes, minimum_score=0.02, device="cpu")(CAMERA)
    found = detector.detect(frame(picture))
    with torch.inference_mode():
        (expected,) = networks[3 if file == "own.pth" else 91]([torch.from_numpy(picture).permute(2, 0, 1) / 255])
    keep = expected["scores"] >= 0.02
    if labels is not None:
        keep &= torch.isin(expected["labels"], torch.tensor(labels))
    assert found.boxes == pytest.approx(expected["boxes"][keep].numpy())
    assert found.scores == pytest.approx(expected["scores"][keep].numpy())
    if file == "own.pth":
        assert len(found) > 0


def test_cameras_share_the_network(files):
    make = detector_of(NAME, weights=files / "own.pth", device="cpu")
    assert make(CAMERA).detector.network is make(Camera("d", 2, "d.mp4")).detector.network


def test_weights_and_classes_that_do_not_fit_are_refused(files, tmp_path):
    with pytest.raises(CrossreidError, match="nothing is downloaded"):
        detector_of(NAME)(CAMERA)
    with pytest.raises(DataError, match="not found"):
        detector_of(NAME, weights=tmp_path / "none.pth")
    with pytest.raises(CrossreidError, match="class 'unicorn' is unknown"):
        detector_of(NAME, weights=files / "coco.safetensors", classes=("unicorn",))(CAMERA)
    with pytest.raises(CrossreidError, match="only numbers"):
        detector_of(NAME, weights=files / "own.pth", classes=("person",))(CAMERA)
    with pytest.raises(DataError, match="holds other weights"):
        detector_of("fasterrcnn_mobilenet_v3_large_320_fpn", weights=files / "own.pth")(CAMERA)


def onnx_file(
    path, *, size=("H", "W"), classes=None, metadata=None, names=("boxes", "scores"), times=1.0, batch=1, labels=True
):
    """A network that finds one box: where the picture is brighter than half; its score is its mean brightness there.

    Its box is (left, top, right, bottom) of the columns and rows whose mean is over a quarter.
    """
    nodes = [
        helper.make_node("ReduceMean", ["images", "channel"], ["grey"], keepdims=0),  # (1, H, W)
        helper.make_node("Greater", ["grey", "half"], ["bright"]),
        helper.make_node("NonZero", ["bright"], ["where"]),  # (3, n)
        helper.make_node("ReduceMin", ["where", "one"], ["low"], keepdims=0),
        helper.make_node("ReduceMax", ["where", "one"], ["high"], keepdims=0),
        helper.make_node("Add", ["high", "step"], ["end"]),
        helper.make_node("Gather", ["low", "order"], ["begin"]),
        helper.make_node("Gather", ["end", "order"], ["until"]),
        helper.make_node("Concat", ["begin", "until"], ["whole"], axis=0),
        helper.make_node("Cast", ["whole"], ["box"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["box", "shape"], ["one_box"]),
        helper.make_node("Concat", ["one_box", "one_box"], [names[0]], axis=0),  # the same twice
        helper.make_node("Identity", ["values"], [names[1]]),
    ]
    values = np.array([0.9, 0.6] if classes is None else classes, dtype=np.float32)
    constants = {
        "channel": np.array([1]), "half": np.array(0.5 * times, np.float32), "one": np.array([1]), "step": np.array([1, 1, 1]),
        "order": np.array([2, 1]), "shape": np.array([1, 4]), "values": values,
    }  # fmt: skip
    outputs = [
        helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [2, 4]),
        helper.make_tensor_value_info(names[1], TensorProto.FLOAT, list(values.shape)),
    ]
    if labels:
        nodes.append(helper.make_node("Identity", ["kinds"], ["labels"]))
        constants["kinds"] = np.array([0, 3])
        outputs.append(helper.make_tensor_value_info("labels", TensorProto.INT64, [2]))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *size])
    held = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "detector", [images], outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return str(path)


@pytest.fixture
def bright():
    """A dark frame with a bright box, and that box."""
    image = np.zeros((60, 90, 3), np.uint8)
    image[12:48, 30:45] = 255
    return frame(image), [30, 12, 45, 48]


def test_an_onnx_file_finds_boxes_in_pixels_of_the_frame(tmp_path, bright):
    shown, box = bright
    found = detector_of(onnx_file(tmp_path / "free.onnx"))(CAMERA).detect(shown)
    assert found.boxes.tolist() == [box, box]
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    fitted = detector_of(onnx_file(tmp_path / "fixed.onnx", size=(120, 120)))(CAMERA).detect(shown)  # 4/3 as large
    assert fitted.boxes == pytest.approx(np.array([box, box]), abs=0.8)
    smaller = detector_of(onnx_file(tmp_path / "small.onnx", size=(20, 32)))(CAMERA).detect(shown)
    assert smaller.boxes == pytest.approx(np.array([box, box]), abs=3)


def test_the_metadata_of_a_file_say_how_frames_are_prepared_and_what_classes_there_are(tmp_path, bright):
    shown, box = bright
    said = {"scale": "255", "names": "{0: 'person', 3: 'dog'}", "nms": "0.5"}
    make = detector_of(onnx_file(tmp_path / "a.onnx", metadata=said, times=255.0))
    found = make(CAMERA).detect(shown)
    assert (found.boxes.tolist(), found.scores.tolist()) == ([box], pytest.approx([0.9]))  # people alone
    dogs = detector_of(str(tmp_path / "a.onnx"), classes=("dog",))(CAMERA).detect(shown)
    assert dogs.scores.tolist() == pytest.approx([0.6])
    both = detector_of(str(tmp_path / "a.onnx"), classes=("dog", "0"))(CAMERA).detect(shown)
    assert both.scores.tolist() == pytest.approx([0.9])  # the worse one of the same box is taken out
    prepared, _ = make(CAMERA).detector.facts.prepared(shown.image)
    assert prepared.max() == 255
    normal = onnx_file(tmp_path / "b.onnx", metadata={"mean": "0.5,0.25,0", "std": "0.5,0.5,2", "channels": "bgr"})
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[:] = (255, 0, 51)  # red, green, blue
    prepared, scale = detector_of(normal)(CAMERA).detector.facts.prepared(colours)
    assert prepared[0, :, 0, 0] == pytest.approx([(0.2 - 0.5) / 0.5, -0.5, 0.5])
    assert scale == 1


def test_scores_of_each_class(tmp_path, bright):
    shown, _ = bright
    scores = [[0.1, 0.7, 0.2], [0.8, 0.1, 0.3]]
    path = onnx_file(tmp_path / "c.onnx", classes=scores, labels=False, metadata={"names": "['cat', 'person', 'dog']"})
    assert detector_of(path)(CAMERA).detect(shown).scores.tolist() == pytest.approx([0.7])
    assert detector_of(path, classes=("cat", "person"))(CAMERA).detect(shown).scores.tolist() == pytest.approx(
        [0.7, 0.8]
    )
    assert detector_of(path, classes=("cat",), minimum_score=0.9)(CAMERA).detect(shown).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": ("places", "scores")}, "outputs boxes and scores"),
        ({"batch": 8}, "expected one input"),
        ({"metadata": {"scale": "much"}}, "'scale' is 'much'"),
        ({"metadata": {"mean": "1,2"}}, "three numbers"),
        ({"metadata": {"names": "person"}}, "'names'"),
    ],
)
def test_an_onnx_file_of_another_signature_is_refused(tmp_path, changes, said):
    path = onnx_file(tmp_path / "other.onnx", **changes)
    with pytest.raises(DataError, match=said):
        detector_of(path)(CAMERA)


def test_an_onnx_file_that_is_none_or_gives_no_scores_is_refused(tmp_path, bright):
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be opened by ONNX Runtime"):
        detector_of(str(tmp_path / "no.onnx"))(CAMERA)
    wild = detector_of(onnx_file(tmp_path / "wild.onnx", classes=[7.0, 9.0]))(CAMERA)
    with pytest.raises(DataError, match="scores from 0 to 1, found 7 to 9"):
        wild.detect(bright[0])
    plain = onnx_file(tmp_path / "plain.onnx", labels=False)
    with pytest.raises(CrossreidError, match="has no classes"):
        detector_of(plain, classes=("person",))(CAMERA)
