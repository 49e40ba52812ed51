"""Takes docs/figures/watch_page.png: the timeline of a service that runs, with an identity chosen.

crossreid serve RUN GALLERY --watch WATCH --insecure
python docs/draw_watch_page.py g1
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).resolve().parent / "figures" / "watch_page.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("identity", help="as events name it")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the service")
    parser.add_argument("--out", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        names = ("chromium-headless-shell", "chromium", "chromium-browser")
        path = next(filter(None, map(shutil.which, names)), None)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720}, reduced_motion="reduce", timezone_id="UTC")
        page.goto(f"{arguments.url}/watch")
        page.locator(f'.bar[data-identity="{arguments.identity}"]').first.click()
        page.locator("#person-tracks img").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.mouse.move(0, 0)
        page.screenshot(path=arguments.out)
        browser.close()


if __name__ == "__main__":
    main()
