"""The readers of SYSU-MM01, RegDB and LLCM: on rendered copies, and on the official lists where they are at hand."""

import shutil
from pathlib import Path

import pytest
from scipy.io import savemat

from crossreid.data.catalogue import load
from crossreid.data.readers import llcm, regdb, sysu_mm01
from crossreid.data.records import DataError, Modality
from crossreid.data.synthetic import synthesise

PROTOCOLS = Path(__file__).resolve().parents[4] / "shared" / "protocols"
needs_lists = pytest.mark.skipif(not PROTOCOLS.is_dir(), reason="the official lists are not at hand")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("worlds")
    for layout in ("sysu-mm01", "regdb", "llcm"):
        synthesise(place / layout, layout, 10, 3, images_per_camera=2, size=(32, 16), workers=1)
    return place


def identities(records):
    return {record.identity for record in records}


def modalities(records):
    return {record.modality for record in records}


def test_sysu_mm01(world):
    split = load("sysu-mm01", world / "sysu-mm01")
    assert {record.camera for record in split.query} == {3, 6}
    assert {record.camera for record in split.gallery} == {1, 2, 4, 5}
    assert modalities(split.query) == {Modality.INFRARED}
    assert len(split.train) == 6 * 2 * len(identities(split.train))
    parts = [identities(split.train), identities(split.validation), identities(split.query)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 10
    both = load("sysu-mm01", world / "sysu-mm01", train_on="train+val")
    assert identities(both.train) == parts[0] | parts[1]
    assert both.validation == ()


def test_sysu_mm01_reads_matlab_lists_too(world, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(world / "sysu-mm01", copy)
    text = (copy / "exp" / "test_id.txt").read_text()
    (copy / "exp" / "test_id.txt").unlink()
    savemat(copy / "exp" / "test_id.mat", {"id": [[int(part) for part in text.split(",")]]})
    names = [record.path.relative_to(copy) for record in load("sysu-mm01", copy).query]
    original = world / "sysu-mm01"
    assert names == [record.path.relative_to(original) for record in load("sysu-mm01", original).query]


def test_regdb_trials(world):
    root = world / "regdb"
    assert b"\r\n" in (root / "idx" / "train_visible_1.txt").read_bytes()
    splits = [load("regdb", root, trial=trial) for trial in (1, 2, 10)]
    for split in splits:
        assert identities(split.train).isdisjoint(identities(split.query))
        assert len(identities(split.train)) == len(identities(split.query)) == 5
        assert modalities(split.gallery) == {Modality.VISIBLE}
    assert len({frozenset(identities(split.train)) for split in splits}) > 1
    held = load("regdb", root, trial=1, validation=2)
    assert identities(held.train) | identities(held.validation) == identities(splits[0].train)
    assert len(identities(held.validation)) == 2


def test_llcm(world):
    split = load("llcm", world / "llcm")
    assert 3 not in {record.camera for record in (*split.query, *split.train) if record.modality == Modality.INFRARED}
    assert identities(split.train).isdisjoint(identities(split.query))
    assert modalities(split.train) == set(Modality)


@pytest.mark.parametrize(
    ("name", "gone", "told"),
    [
        ("sysu-mm01", "exp/train_id.txt", "exp/train_id"),
        ("sysu-mm01", "cam4", "`cam4/` not found"),
        ("regdb", "idx/test_thermal_1.txt", "`idx/test_thermal_1.txt` not found"),
        ("llcm", "idx/train_nir.txt", "`idx/train_nir.txt` not found"),
        ("llcm", "test_vis", "`test_vis/` not found"),
    ],
)
def test_what_is_missing_is_named_with_the_layout(world, tmp_path, name, gone, told):
    copy = tmp_path / "copy"
    shutil.copytree(world / name, copy)
    target = copy / gone
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(DataError) as error:
        load(name, copy)
    assert told in str(error.value)
    assert f"docs/datasets.md#{name}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "path"),
    [("sysu-mm01", "exp/val_id.txt"), ("regdb", "idx/test_thermal_1.txt"), ("llcm", "idx/test_id.txt")],
)
def test_a_list_that_is_no_text_is_named(world, tmp_path, name, path):
    copy = tmp_path / "copy"
    shutil.copytree(world / name, copy)
    (copy / path).write_bytes(b"1, 2, \xff")
    with pytest.raises(DataError, match=rf"{path} is not UTF-8 \(byte 6\)"):
        load(name, copy)


def test_names_and_options_are_checked(world):
    with pytest.raises(DataError, match="Did you mean 'sysu-mm01'"):
        load("sysu", world)
    with pytest.raises(DataError, match="Did you mean 'trial'"):
        load("regdb", world / "regdb", trail=3)
    with pytest.raises(DataError, match="trial is 11"):
        load("regdb", world / "regdb", trial=11)
    with pytest.raises(DataError, match=r"root .* not found"):
        load("llcm", world / "nowhere")
    with pytest.raises(DataError, match="0 to 3"):
        load("regdb", world / "regdb", validation=4)
    with pytest.raises(DataError, match="validation is 'four'"):
        load("regdb", world / "regdb", validation="four")


@needs_lists
def test_official_sysu_identities():
    folder = PROTOCOLS / "SYSU-MM01"
    lists = {name: sysu_mm01.read_identities(folder, f"{name}_id") for name in ("train", "val", "test", "available")}
    assert [len(lists[name]) for name in ("train", "val", "test", "available")] == [296, 99, 96, 491]
    assert set(lists["train"]) | set(lists["val"]) | set(lists["test"]) == set(lists["available"])


@needs_lists
@pytest.mark.parametrize("trial", [1, 10])
def test_official_regdb_lists(tmp_path, trial):
    (tmp_path / "idx").symlink_to(PROTOCOLS / "RegDB")
    split = regdb.parse(tmp_path, trial=trial)
    assert len(split.train) == 4120
    assert (len(split.query), len(split.gallery)) == (2060, 2060)
    assert len(identities(split.train)) == len(identities(split.query)) == 206
    assert identities(split.train).isdisjoint(identities(split.query))


@needs_lists
def test_official_llcm_lists(tmp_path):
    (tmp_path / "idx").symlink_to(PROTOCOLS / "LLCM")
    visible, infrared = (llcm.read_list(tmp_path, f"train_{kind}.txt", kind) for kind in ("vis", "nir"))
    assert (len(visible), len(infrared)) == (16_946, 13_975)
    assert len(identities(visible) | identities(infrared)) == 713
    assert len(llcm.test_identities(tmp_path)) == 351
    assert {record.camera for record in visible} <= set(range(1, 10))
