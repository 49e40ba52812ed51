"""The page where the model is calibrated: probabilities beside scores, and the word that nobody is known."""

from dataclasses import replace

import pytest
from playwright.sync_api import expect

from calibrated import known_calibration
from crossreid.galleries.judging import Threshold
from page_actions import search_files

pytest_plugins = ("served_page",)


@pytest.fixture
def calibrated(served):
    service = served.service
    service.calibration = known_calibration(service.model.fingerprint, low=-1.0, high=1.4)
    yield service
    service.calibration, service.threshold = None, Threshold()


def test_probabilities_and_unknown_are_shown(opened, served, calibrated):
    calibrated.threshold = Threshold(0.99)
    page = opened()
    search_files(page, [served.files[5]], "visible")
    banner = page.locator("#unknown")
    expect(banner).to_be_visible()
    expect(banner).to_have_text(
        "Unknown: none of these reaches probability 0.99. The gallery may not hold who or what you are looking for."
    )
    expect(page.get_by_role("status").first).to_contain_text("Unknown. 20 matches")
    first = page.locator("#matches li").first
    score = float(first.locator(".score").evaluate("e => e.lastChild.textContent.replace('\\u2212', '-')"))
    expected = 0.01 + 0.98 * (score + 1) / 2.4
    shown = first.locator(".chance").evaluate("e => Number(e.lastChild.textContent)")
    assert shown == pytest.approx(expected, abs=2e-3)
    expect(first).to_contain_text("below the threshold")
    text = page.inner_text("#results")
    assert "0.05 of all pairs" in text
    assert "not probabilities" not in text
    assert "never proof" in text
    first.locator(".open").click()
    expect(page.locator("#compare-title")).to_contain_text(f", probability {shown:.3f}")
    page.keyboard.press("Escape")
    calibrated.threshold = Threshold(0.6)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(banner).to_be_hidden()
    expect(page.locator("#matches li.below").first).to_be_visible()
    expect(page.locator("#matches li").first).not_to_contain_text("below the threshold")


def test_a_gallery_of_another_size_is_said_on_the_page(opened, served, calibrated):
    measured = dict.fromkeys(calibrated.calibration.curves, 100_000)
    calibrated.calibration = replace(calibrated.calibration, entries=measured)
    calibrated.threshold = Threshold(false_accept_rate=0.01)
    page = opened()
    search_files(page, [served.files[5]], "visible")
    expect(page.locator("#warning")).to_contain_text(
        "Warning: the threshold of false-accept rate 0.01 was measured with 200,000"
    )
    calibrated.threshold = Threshold(0.6)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#warning")).to_be_hidden()


def test_where_nothing_is_calibrated_nothing_is_said_of_it(opened, served):
    page = opened()
    search_files(page, [served.files[5]], "visible")
    expect(page.locator("#unknown")).to_be_hidden()
    expect(page.locator(".chance")).to_have_count(0)
    assert "not probabilities" in page.inner_text("#results")
