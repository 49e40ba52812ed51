import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from crossreid.service.keys import Keys, add_key, read_keys, remove_key


def test_a_key_is_found_by_its_text_alone_and_the_file_does_not_hold_it(tmp_path):
    path = tmp_path / "deep" / "keys.json"
    desk, door = add_key(path, "desk", ["search"]), add_key(path, "door", ["enrol", "search"])
    keys = Keys(path)
    assert keys.find(desk).name == "desk"
    assert keys.find(door).roles == ("search", "enrol")
    for wrong in ("", "desk", desk[:-1], desk + "x", desk.upper(), "\udc80", keys.find(desk).sha256):
        assert keys.find(wrong) is None
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text(encoding="utf-8")
    assert desk not in text
    assert door.removeprefix("crossreid_") not in text
    assert len(desk) > 40


def test_roles_are_what_they_say_and_admin_is_all():
    from crossreid.service.keys import Key

    roles = ("search", "enrol", "watch", "merge", "admin")
    may = {role: [asked for asked in roles if Key("x", (role,), "", "").may(asked)] for role in roles}
    assert may == {**{role: [role] for role in roles}, "admin": list(roles)}


def test_a_key_ends_when_it_expires(tmp_path):
    path = tmp_path / "keys.json"
    over, current = add_key(path, "over", ["search"], days=0.001), add_key(path, "current", ["search"], days=1)
    held = json.loads(path.read_text(encoding="utf-8"))
    held["keys"][0]["expires"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    path.write_text(json.dumps(held), encoding="utf-8")
    keys = Keys(path)
    assert keys.find(over) is None
    assert keys.find(current).name == "current"


def test_a_file_that_changes_is_read_again_and_a_damaged_one_serves_nobody(tmp_path):
    path = tmp_path / "keys.json"
    first = add_key(path, "first", ["search"])
    keys = Keys(path)
    second = add_key(path, "second", ["admin"])
    assert keys.find(second).name == "second"
    remove_key(path, "first")
    assert keys.find(first) is None
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-20], encoding="utf-8")
    assert keys.find(second) is None
    path.unlink()
    assert keys.find(second) is None
    path.write_text(whole, encoding="utf-8")
    assert keys.find(second).name == "second"


@pytest.mark.parametrize(
    ("name", "roles", "message"),
    [
        ("", ["search"], "printable"), ("a\nb", ["search"], "printable"), ("x" * 101, ["search"], "100"),
        ("desk", ["root"], "role 'root'"), ("desk", [], "one or more roles"), ("taken", ["search"], "already"),
    ],
)  # fmt: skip
def test_wrong_names_and_roles_change_nothing(tmp_path, name, roles, message):
    path = tmp_path / "keys.json"
    add_key(path, "taken", ["search"])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        add_key(path, name, roles)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["keys.json"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"keys": [{}]}', '{"keys": [{"name": "a", "roles": ["search"], "sha256": "00", "created": ""}]}',
     '{"keys": [{"name": 5, "roles": ["search"], "sha256": "", "created": ""}]}', "[" * 100_000],
)  # fmt: skip
def test_another_file_is_named(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"keys\.json is not a key file"):
        Keys(path)
    with pytest.raises(ValueError, match="crossreid keys add"):
        Keys(tmp_path / "none.json")
    path.write_text('{"keys": []}', encoding="utf-8")
    with pytest.raises(ValueError, match="holds no key"):
        Keys(path)
    with pytest.raises(ValueError, match="no key 'x'"):
        remove_key(path, "x")


@pytest.mark.parametrize("days", [0, -1, 36_501, 1e12, float("nan")])
def test_an_end_that_cannot_be_is_refused(tmp_path, days):
    with pytest.raises(ValueError, match="at most 36500"):
        add_key(tmp_path / "keys.json", "desk", ["search"], days=days)
    assert os.listdir(tmp_path) == []


def test_a_file_that_could_not_be_read_is_read_the_next_time_though_it_has_not_changed(tmp_path, monkeypatch, caplog):
    path = tmp_path / "keys.json"
    text = add_key(path, "desk", ["search"])
    keys = Keys(path)
    add_key(path, "door", ["search"])
    with monkeypatch.context() as patched:
        patched.setattr(
            type(path), "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError(24, "Too many open files"))
        )
        assert keys.find(text) is None
        assert keys.find(text) is None
    assert caplog.text.count("nobody is served from now on") == 1
    assert keys.find(text).name == "desk"


def test_keys_that_several_add_and_remove_at_once_are_all_kept(tmp_path):
    path = tmp_path / "keys.json"
    add_key(path, "gone", ["search"])
    with ThreadPoolExecutor(9) as threads:
        made = [threads.submit(add_key, path, f"key {number}", ["search"]) for number in range(24)]
        threads.submit(remove_key, path, "gone").result()
        texts = [each.result() for each in made]
    keys = Keys(path)
    assert [keys.find(text).name for text in texts] == [f"key {number}" for number in range(24)]
    assert len(read_keys(path)) == 24
    assert os.listdir(tmp_path) == ["keys.json"]


def test_keys_are_found_while_the_file_changes(tmp_path):
    path = tmp_path / "keys.json"
    stays = add_key(path, "stays", ["search"])
    keys = Keys(path)
    missed, over = [], threading.Event()

    def ask():
        while not over.is_set():
            if keys.find(stays) is None:
                missed.append(time.monotonic())

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(30):
        add_key(path, f"other {number}", ["search"])
    over.set()
    for thread in threads:
        thread.join()
    assert missed == []
    assert len(json.loads(path.read_text(encoding="utf-8"))["keys"]) == 31
    assert read_keys(path)[0].name == "stays"
