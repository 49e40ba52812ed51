"""Takes docs/figures/search_page.png: the page of a service that runs, after a search, and the first match beside its query.

    crossreid serve demo/variational_distillation demo/gallery --images demo/world --insecure
    python docs/draw_search_page.py demo/world/cam3/0121/0003.jpg

What `make demo` left is served; the query is an infrared picture of it, and visible matches are asked for.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PICTURE = Path(__file__).resolve().parent / "figures" / "search_page.png"
WIDTH, HEIGHT = 1280, 800  # pixels of the window
HALF, GAP = (830, 518), 10  # pixels of either half of the picture, and between them


def screenshot(page: Page) -> Image.Image:
    taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return taken.resize(HALF, Image.Resampling.LANCZOS)


def search(page: Page, query: Path) -> Image.Image:
    """The page after visible matches of an infrared query were asked for."""
    page.set_input_files("#files", query)
    page.locator("input[name=modality][value=infrared]").check()
    page.locator("input[name=filter_modality][value=visible]").check()
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("#matches li").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    page.evaluate("window.scrollTo(0, 0)")
    return screenshot(page)


def compare(page: Page) -> Image.Image:
    """The first match beside its query, with the attention maps over both."""
    page.locator("#matches li img").first.click()
    page.get_by_role("dialog").locator("canvas").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)
    return screenshot(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("query", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service")
    parser.add_argument("--out", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        names = ("chromium-headless-shell", "chromium", "chromium-browser")
        path = next(filter(None, map(shutil.which, names)), None)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
        page.goto(arguments.url)
        halves = [search(page, arguments.query), compare(page)]
        browser.close()
    whole = Image.new("RGB", (2 * HALF[0] + GAP, HALF[1]), "white")
    for number, half in enumerate(halves):
        whole.paste(half, (number * (HALF[0] + GAP), 0))
    whole.save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
