"""The catalogue: what is known of each data set, and a data set that a plugin adds."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from crossreid.data.catalogue import DATASETS, Citation, describe, load, recognised
from crossreid.data.checking import check
from crossreid.data.data_options import DataOptions
from crossreid.data.records import DataError
from crossreid.data.synthetic import LAYOUTS, synthesise
from crossreid.data.training_loading import TrainLoader
from crossreid.evaluation.protocols import PROTOCOLS
from crossreid.registry import PLUGINS, PluginError, use_plugin

DOCS = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"
OURS = {"sysu-mm01", "regdb", "llcm", "market-1501", "msmt17", "mars", "duke-video", "veri-776", "atrw", "manifest"}

ZOO = """
from pathlib import Path

from crossreid.data.catalogue import register_dataset
from crossreid.data.records import DataError, Record, Split, in_order


def unnamed(root: Path, official: bool) -> list[str]:
    return [] if (root / "names.txt").is_file() or not official else ["names.txt not found."]


@register_dataset(
    "zoo",
    title="The zoo",
    protocol="cross-camera",
    official={"train identities": 3, "test identities": 2},
    variants=({"held_out": 2}, {"held_out": 1}),
    list_problems=unnamed,
)
def read(folder: Path, *, held_out: int = 2) -> Split:
    paths = sorted(Path(folder).glob("*/*.jpg"))
    if not paths:
        raise DataError(f"zoo: no animal under {folder}.")
    records = [Record(path, path.parent.name, int(path.stem)) for path in paths]
    names = sorted({record.identity for record in records})
    test = tuple(in_order(record for record in records if record.identity in names[-held_out:]))
    train = tuple(in_order(record for record in records if record.identity in names[:-held_out]))
    return Split("zoo", Path(folder), "cross-camera", train, query=test, gallery=test)
"""


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """A folder that modules are imported from, for the length of a test; so are the data sets that they register."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv(PLUGINS, "")
    DATASETS.load()
    monkeypatch.setattr(DATASETS, "_entries", dict(DATASETS._entries))
    before = set(sys.modules)
    yield folder
    for module in set(sys.modules) - before:
        if Path(getattr(sys.modules[module], "__file__", None) or "/").parent == folder:
            del sys.modules[module]


@pytest.fixture
def zoo(tmp_path):
    """Five identities, two cameras, an image of noise of each."""
    generator = np.random.default_rng(0)
    for identity in ("ape", "bear", "cat", "deer", "emu"):
        folder = tmp_path / "zoo" / identity
        folder.mkdir(parents=True)
        for camera in (1, 2):
            Image.fromarray(generator.integers(0, 256, (40, 24, 3), dtype=np.uint8)).save(folder / f"{camera}.jpg")
    return tmp_path / "zoo"


def test_every_reader_says_what_is_known_of_its_data_set():
    assert set(DATASETS) >= OURS
    headings = [line.removeprefix("## ") for line in DOCS.read_text(encoding="utf-8").splitlines()]
    text = " ".join(DOCS.read_text(encoding="utf-8").split())
    for name in OURS:
        known = DATASETS[name]
        page, _, heading = known.page.partition("#")
        assert (page, heading) == ("docs/datasets.md", name)
        assert heading in headings
        assert known.protocol in PROTOCOLS
        assert known.licence
        if name == "manifest":
            assert known.citation is None
        else:
            assert known.citation.title in text
            assert str(known.citation.year) in text
            assert all(count > 0 for count in known.official.values())


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_reader_names_itself_and_its_protocol(tmp_path, name):
    assert name in LAYOUTS
    root = synthesise(tmp_path / "world", name, 6, 0, images_per_camera=2, size=(16, 16), workers=1)
    for variant in describe(name).variants:
        split = load(name, root, **variant)
        assert (split.name, split.protocol) == (name, describe(name).protocol)


def test_a_citation_in_words():
    assert str(Citation("Wu et al.", "A title", "ICCV", 2017)) == 'Wu et al., "A title", ICCV 2017'
    assert str(Citation("Nguyen et al.", "", "Sensors", 2017)) == "Nguyen et al., Sensors 2017"


def test_an_unknown_data_set_names_the_nearest_and_how_plugins_come_in():
    with pytest.raises(DataError, match=r"data set 'marz' is unknown\. Did you mean 'mars'\?.*--plugin"):
        describe("marz")


def test_a_data_set_of_a_plugin_is_checked_loaded_and_sampled(plugins, zoo):
    (plugins / "zoo_reader.py").write_text(ZOO)
    with pytest.raises(DataError, match="data set 'zoo' is unknown"):
        load("zoo", zoo)
    use_plugin("zoo_reader")
    report = check("zoo", zoo, deep=True, workers=1)
    assert report.problems == ("names.txt not found.",)
    assert ("train identities", "3", "3") in report.rows
    assert check("zoo", zoo, expect="any").ok
    (zoo / "names.txt").touch()
    assert check("zoo", zoo).ok
    split = load("zoo", zoo, held_out=1)
    assert len({record.identity for record in split.train}) == 4
    sampler = {"identities": 2, "images": 2, "balance": "none"}
    options = DataOptions(name="zoo", root=zoo, height=32, width=16, workers=0, sampler=sampler)
    (batch, *_) = TrainLoader(split.train, options, seed=0)(0)
    assert batch.images.shape == (4, 3, 32, 16)
    assert torch.equal(batch.labels.unique(return_counts=True)[1], torch.tensor([2, 2]))
    with pytest.raises(DataError, match=r"option 'held' is unknown\. Did you mean 'held_out'"):
        load("zoo", zoo, held=1)
    with pytest.raises(DataError, match=r"zoo: root .* not found. Give the folder of your copy\.$"):
        check("zoo", zoo / "nowhere")


def test_the_reader_of_the_page_reads(plugins, zoo):
    (block,) = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(encoding="utf-8"), flags=re.M | re.S)
    (plugins / "zoo_of_the_page.py").write_text(block)
    use_plugin("zoo_of_the_page")
    split = load("zoo", zoo, test=2)
    assert [len(split.train), len(split.query), len(split.gallery)] == [6, 4, 4]
    assert check("zoo", zoo, expect="any", options={"test": 2}).ok
    assert str(describe("zoo").citation) == 'Keeper et al., "The zoo", A Workshop 2026'


def test_a_plugin_is_found_by_its_variable(plugins, zoo, monkeypatch):
    (plugins / "zoo_by_name.py").write_text(ZOO)
    monkeypatch.setenv(PLUGINS, "zoo_by_name")
    monkeypatch.setattr(DATASETS, "_state", "new")
    assert describe("zoo").title == "The zoo"
    assert check("zoo", zoo, expect="any").ok


def test_a_name_is_given_once(plugins):
    (plugins / "other_mars.py").write_text(ZOO.replace('"zoo"', '"mars"'))
    with pytest.raises(PluginError, match=r"'mars' is already registered by crossreid\.data\.readers\.mars"):
        use_plugin("other_mars")
    assert describe("mars").title == "MARS"


@pytest.mark.parametrize("name", sorted(OURS - {"manifest", "duke-video"}))
def test_a_copy_is_recognised_by_its_layout_and_files_in_any_case_are_read(tmp_path, name):
    root = synthesise(tmp_path / "world", name, 6, 0, images_per_camera=2, size=(16, 16), workers=1)
    assert recognised(root) == name
    before = load(name, root)
    if name not in ("sysu-mm01", "market-1501"):
        return  # what lists name is looked for as it is named
    for path in list(root.rglob("*.jpg")):
        path.rename(path.with_suffix(".JPG"))
    after = load(name, root)
    assert (len(after.train), len(after.query), len(after.gallery)) == (
        len(before.train), len(before.query), len(before.gallery),
    )  # fmt: skip
