"""The page of the service given what it should not be given, and to people who see, hold or read it otherwise."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from crossreid.reporting.drawing import PALETTE
from crossreid.service.application import PAGE
from page_actions import HOSTILE, K, give, listed, place_of, search_files, stop_the_clock, until

pytest_plugins = ("served_page",)


def test_what_cannot_be_searched_is_told_where_it_was_given(opened, served, monkeypatch, tmp_path):
    page = opened()
    page.refused += [422, 429, "ERR_UPLOAD_FILE_CHANGED"]
    search = page.get_by_role("button", name="Search", exact=True)
    search.click()
    expect(page.locator("#query-fault")).to_contain_text("There is no query yet")
    picture = served.files[0].read_bytes()
    give(page, "drop", [("notes.txt", "text/plain", b"hello"), ("a.jpg", "image/jpeg", picture)])
    expect(page.locator("#query-fault")).to_have_text(
        "notes.txt is not an image but text/plain; expected JPEG, PNG, WEBP, BMP, TIFF."
    )
    expect(page.locator("#query-images li")).to_have_count(1)
    search.click()
    expect(page.locator("#query-fault")).to_have_text("Say whether the images of the query are visible or infrared.")
    page.locator("input[name=modality][value=visible]").check()
    give(page, "paste", [("image.png", "image/png", served.files[1].read_bytes())])
    expect(page.locator("#query-images li")).to_have_count(2)
    (name,) = re.findall(r"pasted-\d+-\w+\.png", page.inner_text("#query-images"))
    expect(page.locator("#status")).to_have_text("1 image added; 2 in the query.")
    with page.expect_download() as saved:  # of what was pasted there is no file yet, and its marks name one
        page.get_by_role("link", name=f"Save {name}").click()
    assert saved.value.suggested_filename == name
    assert Path(saved.value.path()).read_bytes() == served.files[1].read_bytes()
    search.click()
    page.locator("#matches li").first.wait_for()
    give(page, "drop", [("cut.jpg", "image/jpeg", picture[:300])])
    expect(page.locator("#query-images .empty")).to_have_count(1)
    search.click()
    fault = page.locator("#ask-fault[role=alert]")
    expect(fault).to_contain_text("cut.jpg")
    expect(page.locator("#stale")).to_be_visible()  # the list is that of the query before
    page.get_by_role("button", name="Remove cut.jpg").click()
    assert fault.inner_text() == ""  # it named what is no more
    changing = tmp_path / "changing.jpg"
    shutil.copy(served.files[2], changing)
    page.set_input_files("#files", [changing])
    expect(page.locator("#query-images li")).to_have_count(3)
    os.utime(changing, (1, 1))  # what the browser goes by
    search.click()
    expect(fault).to_have_text(
        "changing.jpg has been changed or removed since it was chosen. Remove it from the query and choose it again."
    )
    page.get_by_role("button", name="Remove changing.jpg").click()
    monkeypatch.setattr(served.guard, "options", served.guard.options.model_copy(update={"rate": 0.05}))
    for _ in range(2):
        expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
        search.click()
    expect(fault).to_contain_text(re.compile(r"try again in \d+ s"))
    assert fault.inner_text().count(" s.") == 1


def test_a_newer_search_supersedes_and_one_can_be_cancelled(opened, served):
    page = opened()
    search_files(page, [served.files[0]])
    held = []
    page.route("**/v1/search/images", lambda route: held.append(route))

    def asked(place):
        until(page, lambda: len(held) > place)
        return held[place]

    def given_up(place):
        until(page, lambda: asked(place).request.failure == "net::ERR_ABORTED")

    page.locator("input[name=camera][value='1']").check()
    page.keyboard.press("Enter")
    page.wait_for_function("document.getElementById('results').getAttribute('aria-busy') === 'true'")
    page.locator("input[name=camera][value='2']").check()
    page.get_by_role("button", name="Search", exact=True).click()
    given_up(0)
    asked(1).continue_()
    expect(page.locator("#results-of")).to_contain_text("cameras 1, 2")
    # What is done while a search is under way is done to the list that is there.
    first = page.locator("#matches li").first.locator("dd").last
    before = first.get_attribute("title")
    page.locator("input[name=camera][value='1']").uncheck()
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("#matches .open").first.click()
    asked(2).continue_()
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    assert first.get_attribute("title") != before
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    ((_, marked),) = page.evaluate("JSON.parse(sessionStorage.getItem('crossreid.marks'))")
    assert marked["entry"]["source"] == before
    assert page.locator("#matches .verdict").first.inner_text() == ""
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("button", name="Cancel").first.click()
    expect(page.locator("#status")).to_have_text("The search was cancelled.")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    given_up(3)
    for route in (held[0], held[3]):
        route.abort()
    assert page.inner_text("#ask-fault") == ""
    expect(page.locator("#results-of")).to_contain_text("camera 2")


def test_only_files_are_taken_and_only_beside_no_dialog(opened, served):
    page = opened()
    search_files(page, [served.files[0]])
    one = [("b.jpg", "image/jpeg", served.files[1].read_bytes())]
    page.locator("#matches .open").first.click()
    for how in ("drop", "paste"):
        assert give(page, how, one) == (how == "drop")  # the browser would show a file that is dropped
    page.keyboard.press("Escape")
    page.get_by_label("Identity", exact=True).focus()
    dropped = """() => { const moved = new DataTransfer(); moved.setData("text/plain", "person-1");
        const events = ["dragenter", "dragover", "drop"].map((name) =>
            new DragEvent(name, { dataTransfer: moved, bubbles: true, cancelable: true }));
        return events.map((event) => document.activeElement.dispatchEvent(event)); }"""
    assert page.evaluate(dropped) == [True] * 3  # text is the browser's to drop
    assert give(page, "drop", [("c.jpg", "image/jpeg", served.files[2].read_bytes())])
    expect(page.locator("#query-images .data")).to_have_text([served.files[0].name, "c.jpg"])


def test_a_picture_that_failed_comes_once_the_service_is_back(opened, served):
    page = opened()
    page.refused += [503, 401]
    for path in ("about", "image*"):  # and so it does not tell whether it has maps: they are asked for
        page.route(f"**/v1/{path}", lambda route: route.fulfill(status=503))
    page.reload()
    stop_the_clock(page)
    expect(page.locator("#about-fault")).to_have_text("The service answered 503 Service Unavailable.")
    asked = len(page.asked)
    search_files(page, [served.files[5]])
    until(page, lambda: any("/v1/about" in url for url in page.asked[asked:]))  # once more, as it answers again
    shown = page.locator("#matches .picture").first
    expect(shown).to_have_text("The service answered 503 Service Unavailable.")
    page.unroute("**/v1/image*")
    page.clock.run_for(5000)  # after a while
    expect(shown.locator("img")).to_be_visible()
    page.route("**/v1/image*", lambda route: route.fulfill(status=503))
    page.locator("#matches .open").first.click()
    beside = page.locator("#side-match .picture")
    expect(beside).to_have_text("The service answered 503 Service Unavailable.")
    page.unroute("**/v1/image*")
    page.keyboard.press("a")
    page.keyboard.press("a")
    page.clock.run_for(300)  # and at once where anything else is answered: here, a map
    expect(beside.locator("img")).to_be_visible()
    page.clock.resume()
    # Who has closed the dialog for a key is not asked again by pictures.
    page.route("**/v1/image*", lambda route: route.fulfill(status=401))
    dialog = page.get_by_role("dialog", name="API key")
    page.keyboard.press("ArrowRight")
    expect(dialog).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name=re.compile("^Match 3 of 20"))).to_be_visible()
    expect(beside).to_have_text("The service answered 401 Unauthorized.")
    expect(dialog).to_be_hidden()


def test_a_key_that_comes_late_starts_the_page(opened, served):
    page = opened(key="crossreid_wrong")
    page.refused += [401, 503]
    dialog = page.get_by_role("dialog", name="API key")
    expect(page.locator("#unlock-fault")).to_contain_text("The key is unknown")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Enter a key")).to_be_focused()
    page.set_input_files("#files", [served.files[0]])
    page.locator("input[name=modality][value=visible]").check()
    search = page.get_by_role("button", name="Search", exact=True)
    page.route(
        "**/v1/search/images",
        lambda route: (
            route.fulfill(status=503) if served.key in route.request.headers["authorization"] else route.continue_()
        ),
    )
    search.click()
    page.get_by_label("Key of this service").fill(served.key)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#ask-fault")).to_contain_text("503")
    page.unroute("**/v1/search/images")
    expect(page.locator("#about")).to_contain_text("26 kept until deleted")
    expect(page.locator("input[name=camera]")).to_have_count(len(np.unique(served.cameras)))
    expect(page.locator("#about-fault")).to_be_empty()
    expect(page.get_by_role("button", name="Enter a key")).to_be_hidden()
    search.click()
    page.locator("#matches li").first.wait_for()


def test_the_focus_is_never_lost(opened, served):
    page = opened()
    page.refused.append(503)
    held = []
    page.locator("#samples .open").first.click()
    expect(page.locator("#matches li")).to_have_count(K)
    expect(page.locator("#results-title")).to_be_focused()
    # A double click searches once; going back comes to the query before it.
    before = page.inner_text("#results-of")
    asked = len(page.asked)
    first = []  # the answer waits until both clicks are done: a second one upon the new list is made further below
    page.route("**/v1/search/**", lambda route: first.append(route))
    page.locator("#matches .use").nth(2).dblclick()
    until(page, lambda: first)
    for route in first:
        route.continue_()
    page.unroute("**/v1/search/**")
    expect(page.locator("#results-of")).not_to_have_text(before)
    expect(page.locator("#results-title")).to_be_focused()
    page.locator("#matches .use").nth(2).dispatch_event("click", {"detail": 2})  # the second comes upon the new list
    assert sum("/v1/search/" in url for url in page.asked[asked:]) == 1
    back = page.get_by_role("button", name="Back to the previous query")
    back.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#results-of")).to_have_text(before)
    expect(page.locator("#results-title")).to_be_focused()
    expect(back).to_be_hidden()
    page.route("**/v1/search/ids", lambda route: held.append(route))
    search, cancel = (page.get_by_role("button", name=name, exact=True) for name in ("Search", "Cancel"))
    search.click()
    expect(page.get_by_role("heading", name="Matches Searching …")).to_be_visible()
    cancel.focus()
    page.keyboard.press("Enter")
    expect(search).to_be_focused()
    search.click()
    cancel.focus()
    until(page, lambda: len(held) == 2)
    held[1].continue_()
    expect(page.locator("#results-title")).to_be_focused()
    expect(page.get_by_role("heading", name="Matches", exact=True)).to_be_visible()
    page.unroute("**/v1/search/ids")
    page.route("**/v1/about", lambda route: route.fulfill(status=503), times=2)
    page.reload()
    again, fault = page.get_by_role("button", name="Try again"), page.locator("#about-fault")
    for _ in range(2):  # each after the one before has failed: what is pressed meanwhile is the same attempt
        expect(fault).to_be_visible()
        again.focus()
        with page.expect_response("**/v1/about"):
            page.keyboard.press("Enter")
    expect(again).to_be_hidden()
    expect(page.locator("#files")).to_be_focused()


def test_what_has_the_focus_is_not_covered(opened, served):
    page = opened()
    search_files(page, served.files[0:2])
    page.locator("#matches .open").first.focus()
    page.keyboard.press("r")
    covered = """() => { const focused = document.activeElement, box = focused.getBoundingClientRect();
        const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
        const label = focused.closest("label");
        const seen = focused.contains(top) || (label !== null && label.contains(top));
        return [focused.id || focused.className || focused.tagName, seen]; }"""
    identity = page.get_by_label("Identity", exact=True)
    for width, height in ((1440, 900), (360, 740)):
        page.set_viewport_size({"width": width, "height": height})
        identity.fill("")
        expect(page.locator("#active")).not_to_contain_text("person")
        for key in ("Tab", "Shift+Tab"):
            page.locator("#files" if key == "Tab" else "#matches li:nth-child(6) .use").focus()
            steps = []
            for _ in range(60 if key == "Tab" else 50):
                page.keyboard.press(key)
                steps.append(page.evaluate(covered))
            assert {"since", "identity", "search", "export", "open"} <= {name for name, _ in steps}
            assert [name for name, seen in steps if not seen] == [], width
        for place in ("#results-title", "#matches li:nth-child(9) .use"):  # which lie where the marks may be
            page.locator(place).evaluate("e => { scrollBy(0, e.getBoundingClientRect().top - 2); e.focus(); }")
            assert page.evaluate(covered)[1], width
        identity.focus()
        identity.evaluate(
            """field => { const [ask, bar] = ["ask", "go"].map((id) => document.getElementById(id));
                const scroller = ask.scrollHeight > ask.clientHeight ? ask : window;
                scroller.scrollBy(0, field.getBoundingClientRect().bottom + 2 - bar.getBoundingClientRect().top);
                field.value = "person ".repeat(20);
                field.dispatchEvent(new Event("input", { bubbles: true })); }"""
        )
        expect(page.locator("#active")).to_contain_text("person person")  # and so the bar has grown over the field
        until(page, lambda: page.evaluate(covered) == ["identity", True])


def test_marks_are_not_lost_unasked(opened, served):
    page = opened()
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    search_files(page, [served.files[0]])
    page.locator("#matches .open").first.focus()
    page.keyboard.press("r")
    page.reload()
    assert asked == ["beforeunload"]
    with page.expect_download():
        page.get_by_role("button", name="Export as CSV").click()
    page.reload()
    assert asked == ["beforeunload"]  # they were exported, and have not changed since
    expect(page.locator("#marks-count")).to_have_text("1 right, 0 wrong in this tab")
    # Who forgets the key is asked about them.
    dialog = page.get_by_role("dialog", name="Forget the key and clear the marks?")
    forget = page.get_by_role("button", name="Forget the key")
    forget.click()
    expect(dialog).to_contain_text("1 mark would remain for whoever uses this tab next.")
    dialog.get_by_role("button", name="Cancel").click()
    assert page.evaluate("sessionStorage.getItem('crossreid.key')") == served.key
    forget.click()
    expect(dialog.get_by_role("button", name="Clear them")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#marks")).to_be_hidden()
    assert page.evaluate("sessionStorage.getItem('crossreid.marks')") is None
    assert asked == ["beforeunload"]


def test_texts_of_files_and_entries_stay_texts(opened, served):
    page = opened()
    search_files(page, [served.files[0]])
    card = page.locator("#matches li").nth(place_of(page, "@source"))
    assert card.locator("dd").first.inner_text().startswith("<img src=x")
    card.locator(".open").click()
    expect(page.get_by_role("dialog")).to_contain_text(HOSTILE)
    page.keyboard.press("s")
    expect(page.locator("#results-of")).to_contain_text(f"for entry {HOSTILE}, visible")
    page.get_by_label("Identity", exact=True).fill(HOSTILE)
    expect(page.locator("#active")).to_have_text(f"Set: identity {HOSTILE}.")
    page.keyboard.press("Enter")
    expect(page.locator("#results-of")).to_contain_text("0 matches")
    give(page, "drop", [(f"{HOSTILE}.txt", "text/<b>", b"x")])
    expect(page.locator("#query-fault")).to_contain_text(f"{HOSTILE}.txt is not an image but text/<b>")
    assert page.locator("body img:not(.picture img)").count() == 0
    assert not any(url.endswith("/x") for url in page.asked)
    for script in PAGE.glob("*.js"):  # nowhere is text taken for anything else
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", script.read_text()
        )


def test_text_stands_out_from_the_ground(opened, served):
    page = opened()
    search_files(page, served.files[0:2])
    for place, key in enumerate("rw"):
        page.locator("#matches .open").nth(place).focus()
        page.keyboard.press(key)
    page.locator("input[name=camera]").first.check()
    page.locator("#clear-query").focus()
    expect(page.locator("#stale")).to_be_visible()
    page.mouse.move(0, 0)
    texts = """() => [...document.querySelectorAll("body *")].filter(e => e.checkVisibility()
        && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && !e.matches("noscript, .spoken"))
        .map(e => { let g = e; while (getComputedStyle(g).backgroundColor === "rgba(0, 0, 0, 0)") g = g.parentElement;
            return [e.outerHTML.slice(0, 60), getComputedStyle(e).color, getComputedStyle(g).backgroundColor]; })"""

    def luminance(colour):
        channels = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        seen = page.evaluate(texts)
        assert len(seen) > 100
        ground = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert (ground > 0.9) == (scheme == "light")
        for what, ink, behind in seen:
            dark, light = sorted((luminance(ink), luminance(behind)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (scheme, what)  # WCAG 2, level AA


def test_colours_are_those_of_the_reports():
    light, dark = re.findall(r":root \{([^}]*)\}", (PAGE / "page.css").read_text())
    for dark_scheme, text in enumerate((light, dark)):
        told = dict(re.findall(r"--(\w+): (#\w+)", text))
        shared = set(told) & set(PALETTE)
        assert shared >= {"ink", "muted", "rule", "ground", "panel", "s1"}
        assert {name: told[name] for name in shared} == {name: PALETTE[name][dark_scheme] for name in shared}


def test_nothing_is_wider_than_the_screen(opened, served, tmp_path):
    page = opened(width=1280, height=640)
    Image.new("RGB", (600, 200), "grey").save(tmp_path / "wide.png")
    outside = """all => all.filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1
        && !e.matches('.spoken, .skip')).map(e => e.outerHTML.slice(0, 80))"""
    for step in (
        lambda: expect(page.locator("#samples li")).to_have_count(12),
        lambda: search_files(page, [served.files[0], tmp_path / "wide.png"]),
        lambda: page.locator("#matches .open").nth(place_of(page, "@source")).click(),
        lambda: page.get_by_label("Image of the query").select_option("1"),
    ):
        step()  # at the narrow width, but for the first, and seen at both
        for width in (1280, 320):
            page.set_viewport_size({"width": width, "height": 640})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.eval_on_selector_all("body *", outside) == [], width
    expect(page.get_by_role("img", name="Query image 2 of 2: wide.png")).to_be_visible()
    for width in (320, 1280):
        page.set_viewport_size({"width": width, "height": 640})
        side, stage, other = (
            page.locator(f"#side-{part}").bounding_box() for part in ("query", "query .stage", "match")
        )
        assert stage["width"] / stage["height"] == pytest.approx(3, abs=0.05)
        assert stage["width"] <= side["width"]
        assert side["x"] + side["width"] <= other["x"]


def tree(page):
    """Roles and names as a screen reader gets them."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    kept = [node for node in nodes if not node["ignored"] and node["role"]["type"] != "internalRole"]
    return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in kept]


def test_the_page_can_be_used_without_seeing_it(opened, served):
    page = opened()
    search_files(page, served.files[0:2])
    roles = tree(page)
    named = {"button", "checkbox", "combobox", "dialog", "form", "image", "list", "radio", "slider", "spinbutton",
             "textbox", "region", "radiogroup"}  # fmt: skip
    assert {role for role, _ in roles} >= {"main", "banner", "form", "region", "heading", "list", "status", "radio"}
    assert [(role, name) for role, name in roles if role in named and not name and role != "image"] == []
    names = [name for role, name in roles if role == "button" and not name.startswith("Show local date")]
    assert len(names) == len(set(names))  # said apart from one another
    assert page.locator("ol#matches > li").count() == K
    identifiers = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(identifiers) == len(set(identifiers))
    page.locator("#matches .open").first.click()
    expect(page.get_by_role("img", name=re.compile("^Query image 1 of 2: "))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Match 1: identity "))).to_be_visible()
    inside = tree(page)
    assert ("slider", "Opacity") in inside
    assert page.evaluate("document.activeElement.closest('dialog')?.id") == "compare"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Identity", exact=True).press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.locator("body").evaluate("body => { body.tabIndex = -1; body.focus(); }")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "found"


def test_all_filters_are_to_be_seen_beside_the_matches(opened, served):
    page = opened()
    search_files(page, [served.files[0]])
    for width in (1280, 900):
        page.set_viewport_size({"width": width, "height": 900})
        beside = page.locator("#matches li").first.bounding_box()
        for what in ("#filter-modality", "#cameras", "#since", "#until", "#identity", "#k", "#more", "#search"):
            box, seen = page.locator(what).evaluate(
                """e => { const box = e.getBoundingClientRect();
                    const top = document.elementFromPoint(box.left + box.width / 2, box.bottom - 3);
                    return [box, e.contains(top) || top.contains(e)]; }"""
            )
            assert seen, (width, what)
            assert box["bottom"] <= 900, (width, what)
            assert box["right"] < beside["x"], (width, what)


def test_who_has_one_modality_is_not_asked_for_it(opened, served, monkeypatch):
    of_one = replace(served.service.gallery.stats(), modalities={"visible": 26})
    monkeypatch.setattr(served.service.gallery, "stats", lambda: of_one)
    page = opened()
    expect(page.locator("#one-modality")).to_have_text(
        re.compile("All entries are visible, so query images are taken as visible.")
    )
    expect(page.locator("#query-modality")).to_be_hidden()
    expect(page.locator("#filter-modality")).to_be_hidden()
    page.set_input_files("#files", [served.files[0]])
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#results-of")).to_contain_text("visible; whole gallery")
    page.get_by_role("button", name="Change").click()
    expect(page.locator("input[name=modality][value=visible]")).to_be_focused()
    page.locator("input[name=modality][value=infrared]").check()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#results-of")).to_contain_text("infrared; whole gallery")


def test_the_querys_own_file_is_marked_and_the_words_fit_any_kind(opened, served):
    page = opened()
    search_files(page, [served.files[0], served.files[3]])
    own = page.locator("#matches li", has=page.get_by_text("own file"))
    expect(own.first).to_be_visible()
    names = own.locator("dl").evaluate_all("all => all.map(dl => [...dl.querySelectorAll('dd')].at(-1).title)")
    assert set(names) <= {served.ids[0], served.ids[3]}
    assert own.count() == len({name for name, _ in listed(page)} & {served.ids[0], served.ids[3]}) > 0
    text = page.inner_text("#results")
    assert "clothes, paint or fur" in text
    assert "anyone" not in text
