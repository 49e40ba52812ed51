"""Probes on features whose content is known, because it was put there."""

import numpy as np
import pytest

from crossreid.analysis.factors import names_of, numbers_of, read_factors
from crossreid.analysis.probes import divide, read_all
from crossreid.data.records import DataError
from crossreid.data.synthetic import synthesise


@pytest.fixture(scope="module")
def factors(tmp_path_factory):
    world = tmp_path_factory.mktemp("probes") / "world"
    synthesise(world, "manifest", 60, 3, images_per_camera=2, size=(16, 16), workers=1)
    return read_factors(world)


def noise(count, width, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width))


def found(readings, probe="linear"):
    table = {}
    for reading in readings:
        if reading.probe == probe:
            table.setdefault((reading.space, reading.group, reading.modality), []).append(reading.share)
    return {key: float(np.mean(values)) for key, values in table.items()}


def test_factors_are_those_of_the_world(factors):
    assert len(factors.records) == 60 * 12
    colours = numbers_of(factors, "visible-only")
    assert set(colours) == {"top", "bottom", "shoes", "bag", "hat", "hair", "skin"}
    row = 5
    text = factors.columns["visible_top"][row]
    assert colours["top"][row].tolist() == [int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)]
    heading = np.radians(float(factors.columns["nuisance_heading"][row]))
    np.testing.assert_allclose(numbers_of(factors, "pose")["heading"][row], [np.sin(heading), np.cos(heading)])
    assert set(numbers_of(factors, "infrared-only")) == {"top", "bottom", "shoes", "bag", "hat", "hair"}
    shared = set(numbers_of(factors, "shared")) | set(names_of(factors, "shared"))
    assert len(shared) == 14
    assert not set(numbers_of(factors, "shared")) & set(names_of(factors, "shared"))
    for code, name in zip(names_of(factors, "shared")["hair"], factors.columns["shared_hair"], strict=True):
        assert sorted(set(factors.columns["shared_hair"]))[code] == name


@pytest.mark.slow
@pytest.mark.parametrize("probe", ["linear", "mlp"])
def test_what_is_there_is_read_and_what_is_not_is_not(factors, probe):
    camera = np.eye(6)[names_of(factors, "camera")["camera"]]
    pose = np.concatenate(list(numbers_of(factors, "pose").values()), axis=1)
    v = np.concatenate([3 * camera, 3 * pose], axis=1) + 0.05 * noise(len(camera), 11)
    z = noise(len(camera), 11, seed=1)
    shares = found(read_all({"shared": (v, z)}, factors, probes=(probe,)), probe)
    for modality in ("visible", "infrared"):
        assert shares["v", "camera", modality] > 0.6
        assert shares["v", "pose", modality] > 0.5
        for group in ("shared", "visible-only", "infrared-only"):
            assert shares["v", group, modality] < 0.1
        for group in ("camera", "pose", "shared", "identity"):
            assert shares["z", group, modality] < 0.1
    assert shares["v", "modality", "both"] > 0.7
    assert shares["z", "modality", "both"] < 0.1


@pytest.mark.slow
def test_identity_is_read_off_other_images_and_off_the_other_modality(factors):
    codes = np.unique(factors.identities, return_inverse=True)[1]
    person = noise(60, 40)[codes]
    both = person + 0.1 * noise(len(codes), 40, seed=1)
    apart = np.where(factors.modalities[:, None] == 0, person, noise(60, 40, seed=2)[codes])
    shares = found(read_all({"shared": (both, apart)}, factors, probes=("linear",)))
    for modality in ("visible", "infrared"):
        assert shares["v", "identity", modality] > 0.7
        assert shares["z", "identity", modality] > 0.7
    assert shares["v", "identity across", "both"] > 0.7
    assert shares["z", "identity across", "both"] < 0.05


def test_readings_say_what_was_read_off_what(factors):
    small = factors.take(
        np.isin(factors.identities, factors.records[0].identity) | (np.arange(len(factors.records)) < 180)
    )
    features = noise(len(small.records), 4)
    readings = read_all({"specific": (features, features)}, small, probes=("linear",))
    assert {r.stream for r in readings} == {"specific"}
    assert {r.modality for r in readings if r.group in ("identity across", "modality")} == {"both"}
    assert {r.modality for r in readings if r.group == "camera"} == {"visible", "infrared"}
    v = [(r.group, r.factor, r.modality, r.share) for r in readings if r.space == "v"]
    z = [(r.group, r.factor, r.modality, r.share) for r in readings if r.space == "z"]
    assert v == z  # the same features, the same seed


def test_identities_are_divided_not_images(factors):
    parts = divide(factors.identities, seed=0)
    named = [set(factors.identities[part]) for part in parts]
    assert [len(part) for part in named] == [30, 9, 21]
    assert set.union(*named) == set(factors.identities)
    assert all(a.isdisjoint(b) for i, a in enumerate(named) for b in named[i + 1 :])
    with pytest.raises(DataError, match="at least 10 identities that were not trained on, found 3"):
        divide(np.array(["a", "b", "c"]), 0)


def test_what_is_no_world_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"factors.csv not found: probes need a world"):
        read_factors(tmp_path)
    (tmp_path / "factors.csv").write_text("path,identity\na.jpg,1\n")
    with pytest.raises(DataError, match="render the world again"):
        read_factors(tmp_path)
