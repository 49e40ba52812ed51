"""MSMT17 on a tree of its lists, of both releases."""

import pytest

from crossreid.data.catalogue import load, recognised
from crossreid.data.records import DataError

LISTS = {
    "train": ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_002_14_0303noon_0100_1.jpg 1"],
    "val": ["0000/0000_003_05_0302afternoon_0020_0.jpg 0"],
    "query": ["0000/0000_000_02_0113noon_0001_0.jpg 0"],
    "gallery": ["0000/0000_001_15_0113noon_0007_1.jpg 0", "0001/0001_000_03_0114morning_0002_0.jpg 1", ""],
}


@pytest.fixture(params=[("train", "test"), ("mask_train_v2", "mask_test_v2")], ids=["V1", "V2"])
def msmt(request, tmp_path):
    for folder in request.param:
        (tmp_path / folder).mkdir()
    for name, lines in LISTS.items():
        (tmp_path / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path, request.param


def test_the_lists_say_the_parts(msmt):
    root, (train, test) = msmt
    split = load("msmt17", root)
    assert [(r.identity, r.camera, r.path.relative_to(root).parts[0]) for r in split.train] == [
        ("0", 1, train), ("0", 5, train), ("1", 14, train),
    ]  # fmt: skip
    assert [(r.identity, r.camera) for r in split.query] == [("test-0", 2)]
    assert [(r.identity, r.camera) for r in split.gallery] == [("test-0", 15), ("test-1", 3)]
    assert all(r.path.relative_to(root).parts[0] == test for r in split.test)
    assert split.protocol == "msmt17"
    assert len(load("msmt17", root, train_on="train").train) == 2
    assert recognised(root) == "msmt17"


def test_what_does_not_follow_the_layout_is_named(msmt):
    root, _ = msmt
    with pytest.raises(DataError, match="train_on is 'all'"):
        load("msmt17", root, train_on="all")
    (root / "list_query.txt").write_text("0000/0000_000_16_0113noon_0001_0.jpg 0\n")
    with pytest.raises(DataError, match=r"list_query\.txt, line 1: expected .* camera"):
        load("msmt17", root)
    (root / "list_val.txt").unlink()
    with pytest.raises(DataError, match=r"`list_val\.txt` not found"):
        load("msmt17", root)
