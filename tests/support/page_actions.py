"""What the tests of the page do there, and read there."""

import base64

import numpy as np
import pytest
from playwright.sync_api import expect

from crossreid.data.records import Record
from crossreid.inference.embedding_model import prepared

HOSTILE = "<img src=x onerror=\"document.title='run'\">"
FORMULA = '=HYPERLINK("http://example.invalid","x")'
START = 1_795_255_200.0  # 2026-11-21T10:00:00Z
ZONE = "Asia/Kolkata"  # UTC+05:30, all year
K = 20  # what the page asks for unless told


def search_files(page, files, modality="visible"):
    page.set_input_files("#files", files)
    expect(page.locator("#query-images li")).to_have_count(len(files))
    page.locator(f"input[name=modality][value={modality}]").check()
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("#matches li").first.wait_for()


def until(page, condition, seconds=15):
    """Events of the browser are taken until they have brought about what was said."""
    for _ in range(100 * seconds):
        if condition():
            return
        page.wait_for_timeout(10)
    pytest.fail(f"it did not come about within {seconds} s")


def stop_the_clock(page):
    """From now on time passes in the page where a test says so."""
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)


def listed(page):
    """Ids of the matches, as comparing, filters and marks know them, with the scores that are shown."""
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    names = page.locator("#matches dl").evaluate_all(
        "all => all.map(dl => [...dl.querySelectorAll('dd')].at(-1).title)"
    )
    return list(zip(names, map(float, page.locator("#matches .score").evaluate_all(
        "all => all.map(e => e.lastChild.textContent.replace('\\u2212', '-'))")), strict=True))  # fmt: skip


def agree(found, expected):
    """The same ids in the same order but for scores that three digits cannot tell apart."""
    assert len(found) == len(expected)
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=6e-4)
    known = dict(expected)
    for name, score in found:
        assert known[{"@source": HOSTILE}.get(name, name)] == pytest.approx(score, abs=6e-4)


def embedded(served, places, modality=0):
    model = served.service.model
    images, kinds = prepared(model, [Record(served.files[place], "", 0, modality) for place in places])
    return model.embed_sets(images, kinds, [list(range(len(places)))]).numpy()[0]


def place_of(page, name):
    """Where in the list the match of that id is."""
    return [found for found, _ in listed(page)].index(name)


def give(page, how, files):
    """Drop or paste files, (name, type, content) each, as the browser would: whether what it would do then was prevented."""
    return page.evaluate(
        """([how, files]) => {
        const moved = new DataTransfer();
        for (const [name, type, content] of files) {
            moved.items.add(new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], name, { type }));
        }
        return !document.getElementById("drop").dispatchEvent(how === "drop"
            ? new DragEvent("drop", { dataTransfer: moved, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: moved, bubbles: true }));
    }""",
        [how, [[name, kind, base64.b64encode(content).decode()] for name, kind, content in files]],
    )
