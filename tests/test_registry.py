"""Registries: when they import, in which order they list, and what they say of plugins that do not fit."""

import os
import subprocess
import sys

import pytest

from crossreid.errors import CrossreidError
from crossreid.registry import PLUGINS, PluginError, Registry, use_plugin

MODULES = ("door", "rooms", "aplugin", "another", "pointed")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that modules are imported from, and that leaves none of them behind."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(PLUGINS, "")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in MODULES]:
        del sys.modules[name]


@pytest.fixture
def door(place, monkeypatch):
    """A registry `door.DOOR` that the package `rooms` fills, and modules of plugins."""
    (place / "door.py").write_text(
        "from crossreid.registry import Registry\nDOOR = Registry('thing', 'crossreid.things', package='rooms')\n"
        "class Thing: pass\n"
    )
    (place / "rooms").mkdir()
    (place / "rooms" / "__init__.py").write_text("")
    for name in ("alpha", "beta"):
        write_plugin(place / "rooms" / f"{name}.py", name)
    import door

    return door.DOOR


def write_plugin(path, name):
    path.write_text(f"import door\nclass Mine: pass\ndoor.DOOR.add({name!r}, Mine)\n")


def test_ours_are_imported_at_the_first_look_and_listed_in_the_order_of_modules(place, door):
    assert "rooms.beta" not in sys.modules
    write_plugin(place / "aplugin.py", "aardvark")
    use_plugin("aplugin")
    import rooms.beta  # noqa: F401

    assert list(door) == ["alpha", "beta", "aardvark"]
    assert door["alpha"].__module__ == "rooms.alpha"
    assert len(door) == 3


def test_a_plugin_of_the_environment_is_known_at_the_first_look(place, door, monkeypatch):
    write_plugin(place / "aplugin.py", "gamma")
    write_plugin(place / "another.py", "delta")
    monkeypatch.setenv(PLUGINS, " aplugin, another,")
    assert {"gamma", "delta"} <= set(door)


def test_a_plugin_that_is_used_is_there_in_every_process_that_this_one_starts(place, door):
    write_plugin(place / "aplugin.py", "gamma")
    use_plugin("aplugin")
    use_plugin("aplugin")
    assert os.environ[PLUGINS] == "aplugin"
    assert "gamma" in door
    done = subprocess.run(
        [sys.executable, "-c", "import door; print(list(door.DOOR))"],
        env={**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "gamma" in done.stdout


def test_an_entry_point_is_imported(place, door):
    write_plugin(place / "pointed.py", "gamma")
    info = place / "pointed-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pointed\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[crossreid.things]\nany = pointed:Mine\n")
    assert "gamma" in door
    (info / "entry_points.txt").write_text("[crossreid.things]\nany = nowhere\n")
    with pytest.raises(PluginError, match=r"'nowhere', named by the entry point any of crossreid.things"):
        list(Registry("thing", "crossreid.things"))


def test_a_plugin_that_cannot_be_imported_is_named(place, door, monkeypatch):
    with pytest.raises(PluginError, match="plugin 'not_there', named by --plugin"):
        use_plugin("not_there")
    assert not os.environ[PLUGINS]
    monkeypatch.setenv(PLUGINS, "not_there")
    for _ in range(2):  # a look that failed is not taken for a look
        with pytest.raises(PluginError, match="not_there"):
            list(door)


def test_a_name_that_is_taken_is_refused_by_its_owners(place, door):
    write_plugin(place / "aplugin.py", "alpha")
    assert "alpha" in door
    with pytest.raises(PluginError, match=r"'alpha' is already registered by rooms.alpha, and aplugin uses"):
        use_plugin("aplugin")


def test_what_is_unknown_is_answered_with_the_nearest_and_with_how_plugins_are_named(door):
    assert door.find("alpha") is door["alpha"]
    with pytest.raises(
        CrossreidError, match=r"thing 'alfa' is unknown. Did you mean 'alpha'\? Known: alpha, beta.*--plugin"
    ):
        door.find("alfa")
    with pytest.raises(KeyError):
        door["alfa"]
