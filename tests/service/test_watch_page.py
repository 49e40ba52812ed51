"""The page of a watch in a browser, over HTTP, of a real watch; also while a process watches."""

import json
import shutil
import sqlite3

import numpy as np
import pytest
from playwright.sync_api import expect

from browsing import amiss, browser, page_of  # noqa: F401
from crossreid.service.keys import add_key
from crossreid.service.watch_folder import WatchFolder
from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.posterior import by_threshold
from crossreid.watching.identities.state import open_state
from page_actions import ZONE, until
from served import served
from watched import NAMED, START, faces, make_watch, tracklet


@pytest.fixture(scope="module")
def made(tmp_path_factory, place):
    return make_watch(tmp_path_factory.mktemp("made") / "watch", place.world)


@pytest.fixture
def opened(browser, made, place, tmp_path):  # noqa: F811
    """The page with a key of some roles; afterwards it asked no other host, and complained of nothing but what `refused` names."""
    folder = tmp_path / "watch"
    shutil.copytree(made, folder)
    keys = {
        name: add_key(tmp_path / "keys.json", name, roles)
        for name, roles in (("desk", ["watch", "merge", "search"]), ("viewer", ["watch"]), ("door", ["enrol"]))
    }
    context = browser.new_context(viewport={"width": 1280, "height": 900}, timezone_id=ZONE, reduced_motion="reduce")
    page = page_of(context)
    page.folder = folder
    with served(
        place, tmp_path / "state", keys=tmp_path / "keys.json", explain=False, watch=WatchFolder(folder)
    ) as running:

        def at(key="desk", wait=True):
            if key is not None:
                page.add_init_script(f"sessionStorage.setItem('crossreid.key', {json.dumps(keys[key])})")
            page.goto(f"{running.url}/watch")
            if wait:
                page.locator(".bar").first.wait_for()
            page.keys, page.audit = keys, running.audit
            return page

        yield at
        found = amiss(page, running.url)
        context.close()
    assert found == ([], [])


def bars(page):
    """Camera, name and whether it is chosen of each bar."""
    return page.locator(".bar").evaluate_all(
        "all => all.map(e => "
        "[e.closest('li').dataset.camera, e.querySelector('.label').textContent, e.classList.contains('selected')])"
    )


def bar_of(page, camera, identity):
    return page.locator(f'li[data-camera="{camera}"] .bar[data-identity="{identity}"]')


def test_bars_lie_at_their_times_and_texts_are_texts(opened):
    page = opened("viewer")
    names = page.locator("#lanes h3").evaluate_all("all => all.map(e => e.firstChild.textContent)")
    assert names == ["gate", "yard", "hall-2"]
    assert len(bars(page)) == 12
    assert ["yard", NAMED[0], False] in bars(page)
    assert page.locator("b").count() == 0  # a name is no markup
    assert bar_of(page, "yard", "g4").get_attribute("class").split() == ["bar", "infrared", "unknown"]
    assert "open-end" in bar_of(page, "gate", "g1").last.get_attribute("class")
    # A second is as wide everywhere, and times are where they are.
    one, other = (bar_of(page, *which).bounding_box() for which in (("yard", "g4"), ("hall-2", "g3")))
    scale = one["width"] / 80
    assert other["width"] == pytest.approx(60 * scale, rel=0.03)
    assert one["x"] - other["x"] == pytest.approx(270 * scale, rel=0.01)
    told = bar_of(page, "yard", "g4").get_attribute("aria-label")
    assert told == "unknown g4, yard, 2026-11-21 15:35:00 – 15:36:20 (80 s), infrared, new, matched to nobody"
    # Who was in view at once lies in rows of their own.
    first, second = bar_of(page, "gate", "g1").first.bounding_box(), bar_of(page, "gate", "g2").bounding_box()
    assert first["y"] + first["height"] <= second["y"]
    assert page.locator("#to-search").is_hidden()
    assert "4" in page.locator("#about").inner_text()


def test_a_click_shows_crops_and_where_else_and_leads_back(opened):
    page = opened("viewer")
    bar_of(page, "hall-2", "g3").click()
    expect(page.locator("#person-title")).to_be_focused()
    expect(page.locator("#person-title")).to_have_text("unknown g3 ")
    expect(page.locator("#person-facts")).to_have_text("3 tracks in 3 cameras, 2026-11-21 15:30:30 – 15:35:45.")
    assert [name for _, name, chosen in bars(page) if chosen] == ["unknown g3"] * 3
    until(page, lambda: page.locator("#person-tracks img").count() >= 3)
    assert page.locator("#person-tracks img").first.evaluate("e => [e.naturalWidth, e.naturalHeight]") == [32, 64]
    assert "probability over 0.99" in page.locator("#person-tracks > li").nth(2).inner_text()
    assert page.locator("#person-correct").is_hidden()  # this key may not merge
    assert page.locator("#person-tracks input").count() == 0
    page.get_by_role("button", name="Show in the timeline: track in gate").click()
    expect(bar_of(page, "gate", "g3")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#person")).to_be_hidden()
    expect(bar_of(page, "hall-2", "g3")).to_be_focused()
    shown = {
        (line["action"], *line["shown"]) for line in page.audit() if line["action"] in ("watch identity", "watch crop")
    }
    assert shown == {("watch identity", "g3"), ("watch crop", "g3")}


def test_all_of_it_can_be_reached_by_keys(opened):
    page = opened()
    page.locator("#lanes").focus()
    page.keyboard.press("Tab")
    expect(bar_of(page, "gate", "g1").first).to_be_focused()
    for key, (camera, identity) in (
        ("ArrowRight", ("gate", "g2")), ("ArrowDown", ("yard", "g1")), ("ArrowDown", ("hall-2", "g3")), ("End", ("hall-2", "g4")),
        ("ArrowUp", ("yard", "g4")), ("ArrowLeft", ("yard", "g2")),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate("[document.activeElement.closest('li').dataset.camera, document.activeElement.dataset.identity]") == [
            camera, identity,
        ]  # fmt: skip
    assert page.locator('.bar[tabindex="0"]').count() == 1
    page.keyboard.press("Enter")
    expect(page.locator("#person-title")).to_contain_text(NAMED[1])
    page.keyboard.press("Escape")
    before = page.locator("#timeline-of").inner_text()
    page.keyboard.press("+")
    expect(page.locator("#timeline-of")).not_to_have_text(before)
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()


def test_time_and_cameras_are_filtered(opened):
    page = opened("viewer")
    page.get_by_label("yard", exact=True).uncheck()
    until(page, lambda: {camera for camera, _, _ in bars(page)} == {"gate", "hall-2"})
    assert page.locator("#lanes li").count() == 2
    page.get_by_label("yard", exact=True).check()
    page.get_by_label("From").fill("2026-11-21T15:35:01")
    page.get_by_label("Until").fill("2026-11-21T15:36:25")
    page.get_by_role("button", name="Show", exact=True).click()
    until(page, lambda: len(bars(page)) == 2)
    assert sorted(name for _, name, _ in bars(page)) == ["unknown g3", "unknown g4"]
    page.get_by_label("Until").fill("2026-11-21T15:30:00")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#view-fault")).to_have_text("From must be before until.")
    page.get_by_role("button", name="All", exact=True).click()
    until(page, lambda: len(bars(page)) == 12)


def test_a_person_merges_and_splits(opened):
    page = opened()
    bar_of(page, "hall-2", "g4").click()
    page.get_by_label("This is the same as").select_option("g3")
    page.get_by_role("button", name="Merge…").click()
    assert "All tracks of unknown g4 become those of unknown g3" in page.locator("#confirm").inner_text()
    page.get_by_role("button", name="Cancel").last.click()
    page.get_by_label("This is the same as").select_option("g1")
    page.get_by_role("button", name="Merge…").click()
    page.get_by_role("button", name="Merge them").click()
    expect(page.locator("#person-title")).to_contain_text(NAMED[0])
    until(page, lambda: sum(chosen for _, _, chosen in bars(page)) == 6)
    page.get_by_label("Split off: track in hall-2, 2026-11-21 15:37:10").check()
    page.get_by_role("button", name="Split off 1 ticked track").click()
    page.get_by_role("button", name="Split them off").click()
    until(page, lambda: ["hall-2", "unknown g5", False] in bars(page))
    expect(page.locator("#person-note")).to_have_text("Done, and kept as a mark for training.")
    page.get_by_label("This is the same as").select_option("g2")
    page.refused.append(409)
    page.get_by_role("button", name="Merge…").click()
    page.get_by_role("button", name="Merge them").click()
    expect(page.locator("#person-fault")).to_contain_text("gate saw both at once")
    done = [(line["key"], line["action"]) for line in page.audit() if line["action"] in ("watch merge", "watch split")]
    assert done == [("desk", "watch merge"), ("desk", "watch split"), ("desk", "watch merge")]


def test_what_happens_is_shown_and_who_watches_is_asked(opened):
    page = opened()
    with open_state(page.folder) as state:
        watching = Identities(state, by_threshold(0.5))
        page.get_by_role("button", name="Follow").click()
        bar_of(page, "yard", "g4").click()
        watching.observe(tracklet("yard", state.next_track("yard"), 900, 20, np.roll(faces()[3], 5), finished=False))
        until(page, lambda: ["yard", "unknown g5", False] in bars(page))
        assert bars(page)[-1][0] != "gate"  # the latest is in view, and the first is out of it
        assert "open-end" in bar_of(page, "yard", "g5").get_attribute("class")
        page.get_by_label("This is the same as").select_option("g3")
        page.get_by_role("button", name="Merge…").click()
        page.get_by_role("button", name="Merge them").click()
        expect(page.locator("#person-note")).to_have_text(
            "Passed to the watching process, which does it with its next frames."
        )
        until(page, lambda: bool(watching.answer_requests()))
        expect(page.locator("#person-note")).to_have_text("Done, and kept as a mark for training.")
        expect(page.locator("#person-title")).to_have_text("unknown g3 ")


def test_a_key_is_asked_for_and_one_that_may_not_watch_is_told_so(opened):
    page = opened(None, wait=False)
    page.refused.append(401)
    page.get_by_label("Key of this service").fill(page.keys["viewer"])
    page.get_by_role("button", name="Use this key").click()
    page.locator(".bar").first.wait_for()
    page.evaluate(f"sessionStorage.setItem('crossreid.key', {json.dumps(page.keys['desk'])})")
    page.reload()
    page.get_by_role("link", name="Search").click()
    page.get_by_role("link", name="Timeline").click()
    page.locator(".bar").first.wait_for()
    page.evaluate(f"sessionStorage.setItem('crossreid.key', {json.dumps(page.keys['door'])})")
    page.reload()
    expect(page.locator("#about-fault")).to_contain_text('The key "door" lacks the role watch; it has enrol.')
    assert page.locator(".bar").count() == 0


def test_it_fits_a_narrow_screen_and_bars_can_be_hit(opened):
    page = opened()
    for width in (360, 900):  # made narrow, and opened narrow
        page.set_viewport_size({"width": width, "height": 700})
        if width == 900:
            page.reload()
        bar_of(page, "yard", "g4").click()
        until(page, lambda: page.locator("#person-tracks img").count() >= 3)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        widths = page.locator(".bar").evaluate_all("all => all.map(e => e.getBoundingClientRect().width)")
        assert len(widths) == 12
        assert min(widths) >= 9


def test_times_of_a_film_count_from_its_beginning(opened):
    page = opened("viewer", wait=False)
    with sqlite3.connect(page.folder / "state.db") as database:
        for table in ("tracks", "presences"):
            database.execute(f"UPDATE {table} SET first = first - ?, last = last - ?", (START, START))
        database.execute("UPDATE key_frames SET time = time - ?", (START,))
    page.reload()
    page.locator(".bar").first.wait_for()
    assert "0:05:00 – 0:06:20 (80 s)" in bar_of(page, "yard", "g4").get_attribute("aria-label")
    page.get_by_label("From").fill("5:01")
    page.get_by_label("Until").fill("0:06:25")
    page.get_by_role("button", name="Show", exact=True).click()
    until(page, lambda: len(bars(page)) == 2)
