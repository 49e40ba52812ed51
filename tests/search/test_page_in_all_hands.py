"""The page of the service given what it should not be given, and to people who see, hold or read it otherwise."""

import re

import numpy as np
import pytest
from page_actions import HOSTILE, K, give, place_of, search_files
from PIL import Image
from playwright.sync_api import expect

from crossreid.analysis.drawing import PALETTE
from crossreid.search.service.app import PAGE

pytest_plugins = ("served_page",)


def test_what_cannot_be_searched_is_told_where_it_was_given(opened, served, monkeypatch):
    page = opened()
    page.refused += [422, 429]
    search = page.get_by_role("button", name="Search", exact=True)
    search.click()
    expect(page.locator("#query-fault")).to_contain_text("There is no query yet")
    picture = served.files[0].read_bytes()
    give(page, "drop", [("notes.txt", "text/plain", b"hello"), ("a.jpg", "image/jpeg", picture)])
    expect(page.locator("#query-fault")).to_have_text(
        "notes.txt is no image but text/plain; expected JPEG, PNG, WEBP, BMP, TIFF."
    )
    expect(page.locator("#query-images li")).to_have_count(1)
    search.click()
    expect(page.locator("#query-fault")).to_have_text("Say whether the images of the query are visible or infrared.")
    page.locator("input[name=modality][value=visible]").check()
    give(page, "paste", [("image.png", "image/png", served.files[1].read_bytes())])
    expect(page.locator("#query-images li")).to_have_count(2)
    assert re.search(r"pasted-\d+-\w+\.png", page.inner_text("#query-images"))
    search.click()
    page.locator("#matches li").first.wait_for()
    give(page, "drop", [("cut.jpg", "image/jpeg", picture[:300])])
    expect(page.locator("#query-images .empty")).to_have_count(1)
    search.click()
    fault = page.locator("#ask-fault[role=alert]")
    expect(fault).to_contain_text("cut.jpg")
    expect(page.locator("#stale")).to_be_visible()  # the list is that of the query before
    page.get_by_role("button", name="Remove cut.jpg").click()
    monkeypatch.setattr(served.guard, "settings", served.guard.settings.model_copy(update={"rate": 0.1}))
    search.click()
    expect(fault).to_contain_text(re.compile(r"ask again in \d+ s"))
    assert fault.inner_text().count(" s.") == 1


def test_a_newer_search_supersedes_and_one_can_be_cancelled(opened, served):
    page = opened()
    search_files(page, [served.files[0]])
    held, failed = [], []
    page.route("**/v1/search/images", lambda route: held.append(route))
    page.on("requestfailed", lambda request: failed.append(request))
    page.locator("input[name=camera][value='1']").check()
    page.keyboard.press("Enter")
    page.wait_for_function("document.getElementById('results').getAttribute('aria-busy') === 'true'")
    page.locator("input[name=camera][value='2']").check()
    page.get_by_role("button", name="Search", exact=True).click()
    while len(held) < 2:
        page.wait_for_timeout(10)
    assert [(request, request.failure) for request in failed] == [(held[0].request, "net::ERR_ABORTED")]
    held[1].continue_()
    expect(page.locator("#results-of")).to_contain_text("cameras 1, 2")
    # What is done while a search is under way is done to the list that is there.
    first = page.locator("#matches li").first.locator("dd").last
    before = first.get_attribute("title")
    page.locator("input[name=camera][value='1']").uncheck()
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("#matches .open").first.click()
    held[2].continue_()
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
    assert failed[-1] == held[3].request
    for route in (held[0], held[3]):
        route.abort()
    assert page.inner_text("#ask-fault") == ""
    expect(page.locator("#results-of")).to_contain_text("camera 2")


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
    expect(page.locator("#query-fault")).to_contain_text(f"{HOSTILE}.txt is no image but text/<b>")
    assert page.locator("body img:not(.picture img)").count() == 0
    assert not any(url.endswith("/x") for url in page.asked)
    for script in PAGE.glob("*.js"):  # nowhere is text taken for anything else
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", script.read_text()
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_ground(opened, served, scheme):
    page = opened(scheme=scheme)
    search_files(page, served.files[0:2])
    for place, key in enumerate("rw"):
        page.locator("#matches .open").nth(place).focus()
        page.keyboard.press(key)
    page.locator("input[name=camera]").first.check()
    page.locator("#clear-query").focus()
    expect(page.locator("#stale")).to_be_visible()
    page.mouse.move(0, 0)
    seen = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(e => e.checkVisibility()
            && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && !e.matches("noscript, .spoken"))
            .map(e => { let g = e; while (getComputedStyle(g).backgroundColor === "rgba(0, 0, 0, 0)") g = g.parentElement;
                return [e.outerHTML.slice(0, 60), getComputedStyle(e).color, getComputedStyle(g).backgroundColor]; })"""
    )

    def luminance(colour):
        channels = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    assert len(seen) > 100
    assert (luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) > 0.9) == (scheme == "light")
    for what, ink, ground in seen:
        dark, light = sorted((luminance(ink), luminance(ground)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, what  # WCAG 2, level AA


def test_colours_are_those_of_the_reports():
    light, dark = re.findall(r":root \{([^}]*)\}", (PAGE / "page.css").read_text())
    for dark_scheme, text in enumerate((light, dark)):
        told = dict(re.findall(r"--(\w+): (#\w+)", text))
        shared = set(told) & set(PALETTE)
        assert shared >= {"ink", "muted", "rule", "ground", "panel", "s1"}
        assert {name: told[name] for name in shared} == {name: PALETTE[name][dark_scheme] for name in shared}


@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_is_wider_than_the_screen(opened, served, width, tmp_path):
    page = opened(width=width, height=640)
    Image.new("RGB", (600, 200), "grey").save(tmp_path / "wide.png")
    outside = """all => all.filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1
        && !e.matches('.spoken, .skip')).map(e => e.outerHTML.slice(0, 80))"""
    for step in (
        lambda: expect(page.locator("#samples li")).to_have_count(12),
        lambda: search_files(page, [served.files[0], tmp_path / "wide.png"]),
        lambda: page.locator("#matches .open").nth(place_of(page, "@source")).click(),
        lambda: page.get_by_label("Image of the query").select_option("1"),
    ):
        step()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.eval_on_selector_all("body *", outside) == []
    expect(page.get_by_role("img", name="Query image 2 of 2: wide.png")).to_be_visible()
    side, stage, other = (page.locator(f"#side-{part}").bounding_box() for part in ("query", "query .stage", "match"))
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
