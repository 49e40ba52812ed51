import shutil

import pytest
from PIL import Image

from crossreid.data.checking import check
from crossreid.data.records import DataError
from crossreid.data.synthetic import synthesise


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    place = tmp_path_factory.mktemp("worlds")
    for layout in ("sysu-mm01", "regdb", "llcm", "manifest"):
        synthesise(place / layout, layout, 8, 1, images_per_camera=2, size=(32, 16), workers=1)
    return place


@pytest.fixture
def sysu(worlds, tmp_path):
    shutil.copytree(worlds / "sysu-mm01", tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("layout", ["sysu-mm01", "regdb", "llcm", "manifest"])
@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_copy_is_fine(worlds, layout, deep):
    seen = []
    report = check(layout, worlds / layout, deep=deep, workers=1, progress=lambda done, total=None: seen.append(done))
    assert report.ok, report.problems
    assert any("synthetic" in note for note in report.notes)
    images = sum(int(found) for what, _, found in report.rows if what.endswith("images"))
    assert (
        sum(seen) == images == len(list((worlds / layout).rglob("*.jpg"))) + len(list((worlds / layout).rglob("*.bmp")))
    )


def test_counts_are_held_against_the_official_ones(worlds):
    report = check("regdb", worlds / "regdb", expect="official")
    assert any("train identities: expected 206, found 4" in problem for problem in report.problems)
    assert ("train identities", "206", "4") in report.rows


def test_each_trouble_is_named(sysu):
    images = sorted(sysu.rglob("*.jpg"))
    empty, cut, tiny, text = images[:4]
    empty.write_bytes(b"")
    cut.write_bytes(cut.read_bytes()[:-300])
    Image.new("RGB", (5, 5)).save(tiny)
    text.write_text("not an image")
    shallow = check("sysu-mm01", sysu).problems
    assert {str(path) for path in (empty, tiny, text)} == {problem.split()[0] for problem in shallow}
    deep = check("sysu-mm01", sysu, deep=True, workers=1).problems
    assert {str(path) for path in (empty, cut, tiny, text)} == {problem.split()[0] for problem in deep}


def test_one_image_under_two_identities_is_found(sysu):
    one, other = sorted(sysu.glob("cam1/000[12]/0001.jpg"))
    shutil.copy(one, other)
    assert check("sysu-mm01", sysu).ok
    (problem,) = check("sysu-mm01", sysu, deep=True, workers=1).problems
    assert str(one) in problem
    assert str(other) in problem


def test_identities_in_train_and_test_are_found(sysu):
    lists = sysu / "exp"
    leaked = (lists / "test_id.txt").read_text().split(",")[0]
    (lists / "train_id.txt").write_text((lists / "train_id.txt").read_text() + "," + leaked)
    (problem,) = check("sysu-mm01", sysu).problems
    assert f"in train and in test: {leaked}" in problem


def test_a_listed_file_that_is_missing_is_found(worlds, tmp_path):
    for layout, pattern in (
        ("regdb", "Thermal/*/*.bmp"),
        ("llcm", "test_nir/*/*/*.jpg"),
        ("manifest", "images/*/*.jpg"),
    ):
        copy = tmp_path / layout
        shutil.copytree(worlds / layout, copy)
        gone = sorted(copy.glob(pattern))[0]
        gone.unlink()
        problems = check(layout, copy).problems
        assert any(gone.name in problem for problem in problems), layout


def test_extra_files_and_unreadable_copies(sysu):
    (sysu / "cam1" / "9999").mkdir()
    Image.new("RGB", (20, 20)).save(sysu / "cam1" / "9999" / "1.jpg")
    assert any("1 image files belong to no split" in note for note in check("sysu-mm01", sysu).notes)
    (sysu / "exp" / "train_id.txt").unlink()
    assert "exp/train_id" in check("sysu-mm01", sysu).problems[0]
    with pytest.raises(DataError, match="not found"):
        check("sysu-mm01", sysu / "nowhere")


def test_misspelled_columns_are_named_though_nothing_can_be_tested(tmp_path):
    (tmp_path / "manifest.csv").write_text("path,identity,camra\na.jpg,x,1\nb.jpg,y,2\n")
    report = check("manifest", tmp_path)
    assert any("one image" in problem for problem in report.problems)
    assert any("'camra' is not read. Did you mean 'camera'?" in problem for problem in report.problems)
