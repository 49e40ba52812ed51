"""Views knowledge distillation: its terms by hand, what a teacher keeps, and where a student starts."""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_three_branch import method_of as three_branch

from crossreid.data.batch import Batch
from crossreid.methods import build_method
from crossreid.methods.baseline import Baseline, BaselineOptions
from crossreid.methods.view_distillation import (
    ViewDistillation,
    ViewDistillationOptions,
    network_options,
    several_cameras_first,
    start_from,
)

CLASSES = 4
BACKBONE = {"name": "test_resnet", "weights": "none", "last_activation": False}


def method_of(seed=0, **given):
    torch.manual_seed(seed)
    method = build_method(ViewDistillationOptions(backbone=BACKBONE, **given), CLASSES)
    for name, parameter in method.named_parameters():
        if name.endswith("classifier.weight"):
            torch.nn.init.normal_(parameter, std=0.3)
    return method


def batch_of(size=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 0, 1, 1, 2, 3])
    modalities = torch.randint(2, (6, size), generator=generator)
    images = torch.randn(6, size, 3, 32, 16, generator=generator)
    return Batch(images, labels, modalities, torch.zeros_like(modalities))


def softmax(rows):
    powers = np.exp(rows - rows.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("seen", [None, 1, 2])
def test_terms_are_what_a_loop_over_sets_gives(seen):
    student, teacher = method_of(images=seen, knowledge_weight=0.7, distance_weight=0.3).eval(), method_of(5).eval()
    batch = batch_of()

    def sets(method, count):
        """Mean features and mean logits of each set's first images, each image by itself."""
        rows = [[method.predict(image[None], torch.zeros(1)) for image in images[:count]] for images in batch.images]
        means = [[sum(parts) / len(parts) for parts in zip(*row, strict=True)] for row in rows]
        return (np.concatenate([part.double().numpy() for part in column]) for column in zip(*means, strict=True))

    with torch.no_grad():
        features, logits = sets(student, seen or 4)
        teacher_at_once = copy.deepcopy(teacher)
        student.teach(teacher_at_once)
        shown, told = (  # the teacher normalises over the batch, so its images go through together
            rows.double().unflatten(0, (6, 4)).mean(1).numpy()
            for rows in teacher_at_once.predict(batch.images.flatten(0, 1), torch.zeros(24))
        )
    labels = batch.labels.numpy()
    expected = {"identity": -np.log(softmax(logits)[np.arange(6), labels]).mean()}
    gaps = []
    for i in range(6):
        away = np.linalg.norm(features[i] - features, axis=1)
        near, far = away[(labels == labels[i]) & (np.arange(6) != i)], away[labels != labels[i]]
        gaps += [np.log1p(np.exp(near.max() - far.min()))] if len(near) else []
    expected["triplet"] = np.mean(gaps)
    p, q = softmax(told / 10), softmax(logits / 10)
    expected["knowledge"] = 0.7 * 100 * (p * np.log(p / q)).sum(1).mean()
    pairs = [
        (((shown[i] - shown[j]) ** 2).sum() - ((features[i] - features[j]) ** 2).sum()) ** 2
        for i in range(6)
        for j in range(i + 1, 6)
    ]
    expected["distance"] = 0.3 * np.mean(pairs)
    found = {name: term.item() for name, term in student.losses(batch).items()}
    assert found == pytest.approx(expected, rel=2e-3)


def test_a_teacher_normalises_by_the_batch_and_changes_no_buffer():
    student, teacher = method_of(images=2), method_of(5)
    batch = batch_of()
    teacher.train().losses(batch)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    student.teach(teacher)
    student.train()
    for images in (batch.images, 3 * batch.images + 1):
        student.losses(batch._replace(images=images))
    after = teacher.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert any("num_batches_tracked" in name for name in before)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    # What it says depends on the rest of the batch, which running statistics would not let it.
    with torch.no_grad():
        alone = teacher.predict(batch.images[:2].flatten(0, 1), torch.zeros(8))[1]
        among = teacher.predict(batch.images.flatten(0, 1), torch.zeros(24))[1][:8]
    assert not torch.allclose(alone, among, atol=1e-3)


def test_a_teacher_is_no_part_of_its_student():
    student, teacher = method_of(images=1), method_of(5)
    names = set(student.state_dict())
    student.teach(teacher)
    assert set(student.state_dict()) == names
    assert not {id(p) for p in student.parameters()} & {id(p) for p in teacher.parameters()}
    student.to(torch.float64)
    assert {p.dtype for p in teacher.parameters()} == {torch.float64}


def test_the_students_images_are_the_first_of_the_teachers():
    student = method_of(images=2, knowledge_weight=0, distance_weight=0).eval()
    batch = batch_of()
    changed = batch.images.clone()
    changed[:, 2:] = 7.0
    same, other = (student.losses(batch._replace(images=images)) for images in (batch.images, changed))
    torch.testing.assert_close(same, other)
    with pytest.raises(ValueError, match=r"method\.images is 2, but a set has 1"):
        student.losses(batch._replace(images=batch.images[:, :1], modalities=batch.modalities[:, :1]))


def test_images_are_sets_of_one():
    student = method_of().eval()
    batch = batch_of(1)
    flat = Batch(batch.images[:, 0], batch.labels, batch.modalities[:, 0], batch.cameras[:, 0])
    torch.testing.assert_close(student.losses(batch), student.losses(flat))


@torch.no_grad()
def test_embeddings_of_ragged_sets_are_means_over_what_is_present():
    method, batch = method_of().eval(), batch_of()
    sizes = [4, 1, 2, 3, 4, 2]
    present = torch.arange(4)[None, :] < torch.tensor(sizes)[:, None]
    found = method.embed(batch.images, batch.modalities, present)
    for row, size in enumerate(sizes):
        rows = [method.network.encoder.pool(image[None])[0] for image in batch.images[row, :size]]
        mean = sum(rows) / size
        torch.testing.assert_close(found[row], mean / mean.norm(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        method.embed(batch.images[:, 0], batch.modalities[:, 0]),
        method.embed(batch.images[:, :1], batch.modalities[:, :1]),
    )
    present[3] = False
    with pytest.raises(ValueError, match="set 3 of 6 is empty"):
        method.embed(batch.images, batch.modalities, present)


def test_behind_the_neck_on_demand():
    before, behind = method_of().eval(), method_of(test_features="neck").eval()
    behind.load_state_dict(before.state_dict())
    behind.network.encoder.neck.running_mean.fill_(0.5)
    images = batch_of().images[:, 0]
    pooled = before.features(images, torch.zeros(6))
    torch.testing.assert_close(behind.features(images, torch.zeros(6)), behind.network.encoder.neck(pooled))


def test_a_student_starts_as_its_teacher_but_for_the_last_stage_and_heads():
    student, teacher = method_of(0), method_of(5)
    fresh = copy.deepcopy(student.state_dict())
    start_from(student, teacher, reset_last_stage=True)
    taken = {name for name, value in student.state_dict().items() if not torch.equal(value, fresh[name])}
    assert taken
    for name in taken:
        assert torch.equal(student.state_dict()[name], teacher.state_dict()[name])
        assert ".layer4." not in name
        assert name.startswith("network.encoder.backbone.")
    weights = {name for name, _ in student.named_parameters() if "backbone" in name and ".layer4." not in name}
    assert {name for name in weights if student.get_parameter(name).ndim == 4} <= taken
    start_from(student, teacher, reset_last_stage=False)
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in student.state_dict().items())


def test_the_last_stage_is_set_back_to_the_backbones_own_weights(tmp_path):
    """Whatever the student's backbone was given at first, a file here in place of ImageNet's, its last stage keeps."""
    pretrained = method_of(9).encoders[0].network.state_dict()
    save_file(pretrained, tmp_path / "weights.safetensors")
    options = ViewDistillationOptions(backbone=BACKBONE | {"weights": str(tmp_path / "weights.safetensors")})
    student, teacher = build_method(options, CLASSES), method_of(5)
    start_from(student, teacher, reset_last_stage=True)
    taught, own = teacher.encoders[0].network.state_dict(), student.encoders[0].network.state_dict()
    for key, value in own.items():
        assert torch.equal(value, (pretrained if key.startswith("layer4.") else taught)[key]), key
    assert not torch.equal(own["layer4.0.conv1.weight"], taught["layer4.0.conv1.weight"])


def test_another_architecture_is_no_start():
    torch.manual_seed(0)
    other = Baseline(BaselineOptions(backbone={"name": "resnet10t", "weights": "none"}), CLASSES)
    with pytest.raises(ValueError, match="has another architecture"):
        start_from(method_of(), other, reset_last_stage=True)


def test_what_a_teachers_losses_remember_is_not_its_architecture():
    torch.manual_seed(0)
    network = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    remembering = network | {"losses": {"centre": 0.01, "cross_batch_memory": {"size": 16}}}
    teacher = build_method(network_options(remembering), CLASSES)
    student = method_of(network=network, losses={}, distance="cosine", start="teacher")
    start_from(student, teacher, reset_last_stage=False)
    own, taught = student.network.state_dict(), teacher.state_dict()
    assert all(torch.equal(value, taught[name]) for name, value in own.items())
    assert any(name.startswith("added_losses.") for name in taught)


@pytest.mark.parametrize("name", ["baseline", "variational_distillation", "variational_information_bottleneck"])
def test_any_methods_network_teaches_and_learns(name):
    network = {"name": name, "backbone": {"name": "test_resnet", "weights": "none"}}
    torch.manual_seed(0)
    teacher = build_method(network_options(network), CLASSES)
    student = method_of(network=network, images=2, distance="cosine", start="teacher")
    start_from(student, teacher, reset_last_stage=True)
    student.teach(teacher)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    student.train()
    terms = student.losses(batch_of())
    assert set(terms) == {"identity", "triplet", "knowledge", "distance"}
    sum(terms.values()).backward()
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for e in student.encoders for p in e.parameters())
    assert student.eval().embed(batch_of().images, batch_of().modalities).norm(dim=1).allclose(torch.ones(6))


@torch.no_grad()
def test_a_three_branch_networks_prediction_is_its_test_feature_and_its_mean_logits():
    method = three_branch("variational_distillation").eval()
    images, modalities = batch_of().images[:, 0], torch.tensor([0, 1, 0, 1, 0, 1])
    features, logits = method.predict(images, modalities)
    torch.testing.assert_close(features, method.features(images, modalities))
    expected = []
    for row, modality in enumerate(modalities):
        own = [method.infrared if modality else method.visible, method.shared]
        parts = [branch(images[row : row + 1]) for branch in own]
        expected.append(sum(part[2] + part[3] for part in parts)[0] / 4)
    torch.testing.assert_close(logits, torch.stack(expected), atol=1e-4, rtol=1e-3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="for other methods' networks"):
        network_options({"name": "view_distillation"})
    with pytest.raises(ValueError, match=r"method\.network\.name: expected one of agw, baseline"):
        network_options({"name": "agww"})
    with pytest.raises(ValueError, match=r"method\.network\.backbone\.nam: Extra inputs"):
        network_options({"name": "agw", "backbone": {"nam": "x"}})


def test_the_class_builds_another_methods_network_itself():
    method = ViewDistillation(ViewDistillationOptions(network={"name": "baseline", "backbone": BACKBONE}), CLASSES)
    assert isinstance(method.network, Baseline)


def test_a_student_may_see_as_many_cameras_as_there_are():
    cameras = torch.tensor([[1, 1, 1, 2], [3, 4, 3, 4], [5, 5, 5, 5], [1, 2, 3, 4]])
    order = several_cameras_first(cameras)
    assert order.tolist() == [[0, 3, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    student = method_of(images=2, own_images="cameras").eval()
    batch = batch_of()
    cameras = torch.tensor([[1, 1, 2, 2]]).expand(6, 4)
    picked = Batch(batch.images[:, [0, 2]], batch.labels, batch.modalities[:, [0, 2]], cameras[:, [0, 2]])
    found = student.losses(batch._replace(cameras=cameras))
    for name, term in method_of(images=2).eval().losses(picked).items():
        torch.testing.assert_close(found[name], term)


def test_settings_are_starts_that_a_recipe_may_change():
    plain = ViewDistillationOptions(backbone=BACKBONE)
    assert ViewDistillationOptions(setting="crossreid", backbone=BACKBONE) == plain
    official = ViewDistillationOptions(setting="official", backbone=BACKBONE)
    assert official.backbone.bare_last_block
    assert (official.distance_over, official.reset_extent) == ("matrix", "release")
    paper = ViewDistillationOptions(setting="paper", backbone={"name": "test_resnet"}, distance_over="pairs")
    assert not paper.backbone.last_activation
    assert (paper.distance_over, paper.own_images) == ("pairs", "cameras")
