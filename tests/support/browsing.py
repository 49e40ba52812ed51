"""Debian's chromium, for tests of pages; they are skipped where there is none.

Its shell without windows takes half of the processor time of the whole browser. A process of pytest starts one, for all
of its modules: each start takes as much as a test of a page.
"""

import asyncio
import functools
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

BROWSER = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser"))), None)
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


expect.set_options(timeout=15_000)  # as of all else that pages do: another process may have the processor


@functools.cache
def _started():
    """Playwright, the browser, and the loop of events that this thread runs for them from now on."""
    playwright = sync_playwright().start()
    return playwright, playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS), asyncio.get_running_loop()


def _stop(loop):
    playwright, browser, _ = _started()
    asyncio._set_running_loop(loop)
    browser.close()
    playwright.stop()
    _started.cache_clear()


@pytest.fixture(scope="module")
def browser(request):
    if BROWSER is None:
        pytest.skip("no chromium on PATH")
    first = not _started.cache_info().currsize
    _, opened, loop = _started()
    if first:
        request.config.add_cleanup(lambda: _stop(loop))
    asyncio._set_running_loop(loop)
    yield opened
    asyncio._set_running_loop(None)  # tests of other modules may run one of their own


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
