"""Debian's chromium, for tests of pages; they are skipped where there is none.

Its shell without windows takes half of the processor time of the whole browser.
"""

import shutil

import pytest
from playwright.sync_api import sync_playwright

BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))), None)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("no chromium on PATH")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield opened
        opened.close()


def page_of(context):
    """A new page, which notes what it asks for and complains of; a test names in `refused` what it may complain of."""
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.asked, page.said, page.refused = [], [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    return page


def amiss(page, url):
    """What a page of the service at `url` complained of, but for what `refused` names (statuses, or the browser's own
    words), and what it asked of other hosts."""
    refused = [each if isinstance(each, str) else f"status of {each} " for each in page.refused]
    said = [text for text in page.said if not any(each in text for each in refused)]
    return said, [asked for asked in page.asked if not asked.startswith((f"{url}/", f"blob:{url}/", "data:"))]
