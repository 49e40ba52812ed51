"""Runs docs/tutorial.md: the page's own commands in an empty folder, in a terminal of 80 columns, and what they print.

    python docs/tutorial_run.py weights.safetensors --write MACHINE

takes a file with timm's weights of tf_efficientnet_lite0, which the page calls `weights.safetensors`. Without `--write` it says
what differs from the page but for numbers; with it, outputs and pictures are put into the page. tests/demo/test_tutorial.py runs
the same page on fewer and smaller images with a smaller network.

The page's blocks are taken in their order: `yaml title="FILE"` is written to FILE; each line of a `bash` block is run; a `text` block
behind it holds what its last commands printed. While `crossreid serve` runs, somebody who knows everybody marks matches on the page.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import itertools
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from crossreid.data.catalogue import load
from crossreid.data.picture_rows import GAP, LINE, TILE
from crossreid.data.records import Modality

DOCS = Path(__file__).resolve().parent
TUTORIAL = DOCS / "tutorial.md"
FIGURES = DOCS / "figures" / "tutorial"
SECONDS = 1800  # that a command may take
MARKED = 5  # matches of a query that are marked
SHOWN = "0003"  # the person whose search is shown
_BLOCK = re.compile(
    r"^```(?P<language>bash|text|yaml)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```", re.M | re.S
)
_MEASURED = re.compile(r"<!-- measured -->.*?<!-- /measured -->", re.S)


@dataclass
class Block:
    """A block of the page; `text` of what is shown is replaced by what was printed, `printed`, once it was."""

    language: str
    title: str | None
    text: str
    printed: str | None = None

    def lines(self) -> list[list[str]]:
        """The commands of a block, in words."""
        return [shlex.split(line) for line in self.text.splitlines()]


def blocks_of(page: str) -> list[Block]:
    return [Block(match["language"], match["title"], match["text"]) for match in _BLOCK.finditer(page)]


class InTerminal:
    """A process whose outputs are a terminal; `start(slave)` starts it, and returns what has `wait` and `send_signal`."""

    def __init__(self, start: Callable[[int], Any]) -> None:
        self._master, slave = pty.openpty()
        self.process = start(slave)
        os.close(slave)
        self._text = b""

    def _read(self) -> bool:
        """Read what there is; False at the end."""
        if not select.select([self._master], [], [], SECONDS)[0]:
            raise TimeoutError(f"nothing for {SECONDS} s after: {self.text()}")
        try:
            more = os.read(self._master, 65536)
        except OSError:  # of a terminal that nobody writes to any more
            more = b""
        self._text += more
        return bool(more)

    def until(self, words: str) -> None:
        """Read until these words were printed."""
        while words not in self.text():
            if not self._read():
                raise RuntimeError(f"ended before it said {words!r}: {self.text()}")

    def rest(self) -> str:
        """All that it prints until it ends."""
        while self._read():
            pass
        os.close(self._master)
        self.status = self.process.wait()
        return self.text()

    def text(self) -> str:
        lines = self._text.decode(errors="replace").replace("\r\n", "\n").splitlines()
        return "".join(f"{line.rstrip()}\n" for line in lines)


def as_process(words: list[str], slave: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env={**os.environ, "TERM": "dumb"}
    )


def run_page(
    blocks: list[Block],
    start: Callable[[list[str], int], Any] = as_process,
    *,
    changed: Callable[[str], str] = lambda text: text,
    picture: Path | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> None:
    """Run the page in the folder that we are in; `printed` of the blocks of outputs is filled in.

    `start(words, slave)` starts a command; `changed` makes a file or a command of the page smaller; `picture` is where a picture
    of the page of the service is put.
    """
    printed = ""
    for block in blocks:
        if block.language == "yaml" and block.title is not None:
            Path(block.title).write_text(changed(block.text), encoding="utf-8")
        elif block.language == "text":
            block.printed, printed = tidied(printed), ""
        elif block.language == "bash":
            printed = ""
            for line in block.text.splitlines():
                say(f"$ {line}")
                words = shlex.split(changed(line))
                running = InTerminal(lambda slave, words=words: start(words, slave))
                if serves := words[:2] == ["crossreid", "serve"]:
                    running.until("Ctrl-C")
                    try:
                        url = re.findall(r"http://\S+:\d+", running.text())[0]
                        mark(url, Path("new"), Path("marks.csv"), picture)
                    finally:
                        running.process.send_signal(signal.SIGINT)
                printed += running.rest()
                if running.status not in ((0, 130) if serves else (0,)):  # 0 where Ctrl-C is ignored, as in scripts
                    raise RuntimeError(f"{line}: status {running.status}\n{printed}")


def tidied(printed: str) -> str:
    """Without blank lines at the ends, and behind bars, where this terminal has one more than those whose cursor moves."""
    return re.sub(r"(━.*\n)\n+", r"\1", re.sub(r"\n{2,}", "\n\n", printed)).strip("\n") + "\n"


def mark(url: str, photographs: Path, out: Path, picture: Path | None) -> None:
    """Search with each person's infrared images of camera 3 together, mark the first matches, and export the marks."""
    with in_browser() as page:
        page.goto(url)
        page.get_by_label("Number of matches").fill(str(MARKED))
        page.get_by_role("button", name="Change").click()
        page.locator("input[name=modality][value=infrared]").check()
        people = sorted(path for path in (photographs / "cam3").iterdir() if path.is_dir())
        for person in people:
            if page.locator("#clear-query").is_visible():
                page.locator("#clear-query").click()
            page.set_input_files("#files", sorted(person.glob("*.jpg")))
            with page.expect_response(lambda answer: "/v1/search/images" in answer.url):
                page.get_by_role("button", name="Search", exact=True).click()
            page.locator("#results[aria-busy=false]").wait_for()
            for match in page.locator("#matches li").all():
                named = match.locator("dd").last.get_attribute("title") or ""
                match.locator(".open").focus()
                page.keyboard.press("r" if f"/{person.name}/" in named else "w")
                match.locator(".verdict:not(:empty)").wait_for()
            if picture is not None and person.name == SHOWN:
                page.wait_for_load_state("networkidle")
                page.evaluate("window.scrollTo(0, 0)")
                save(photographed(page), picture)
        with page.expect_download() as download:
            page.get_by_role("button", name="Export as CSV").click()
        download.value.save_as(out)


@contextmanager
def in_browser() -> Iterator[Page]:
    """A page in a window of 1200 x 760 pixels."""
    with sync_playwright() as playwright:
        names = ("chromium-headless-shell", "chromium", "chromium-browser")
        path = next(filter(None, map(shutil.which, names)), None)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(viewport={"width": 1200, "height": 760}, reduced_motion="reduce")
        browser.close()


def photographed(page: Page) -> Image.Image:
    """What is in the window."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def draw(blocks: list[Block], figures: Path) -> None:
    """The pictures of what the commands left in this folder; that of the service's page was taken while somebody marked."""
    save(beside_its_matches(blocks), figures / "matches.jpg")
    save(top_of("photographs.png"), figures / "photographs.jpg")
    save(of_each_split(Path("photos.csv")), figures / "splits.jpg")
    save(last_four(Image.open("check.png")), figures / "check.jpg")
    save(top_of("new.png"), figures / "new.jpg")
    for name, drawn in (
        ("map_pretrained", "pretrained/features-map"),
        ("map_strong", "strong/strong-branches"),
        ("losses", "strong/losses"),
        ("again", "again/joint-maps"),
    ):
        save(Image.open(f"figures/{drawn}.png").convert("RGB"), figures / f"{name}.png")
    with in_browser() as page:
        page.goto(Path("report.html").absolute().as_uri())
        for section in ("scores", "ranked"):
            page.evaluate(f"document.getElementById('{section}').scrollIntoView()")
            save(photographed(page), figures / f"report_{section}.png")


def top_of(sheet: str) -> Image.Image:
    """The first three people of a contact sheet."""
    whole = Image.open(sheet).convert("RGB")
    return whole.crop((0, 0, whole.width, round(whole.height * 0.38)))


def last_four(sheet: Image.Image) -> Image.Image:
    """The last four rows of the sheet of `crossreid check`, which are people of the test."""
    return sheet.crop((0, sheet.height - 4 * (LINE + TILE + 3 * GAP) - GAP, *sheet.size))


def of_each_split(manifest: Path) -> Image.Image:
    """The first person of training, validation and test, a row each: infrared images, and after a gap visible ones."""
    split, rows = load("manifest", manifest), []
    for records in (split.train, split.validation, split.test):
        of_one = [record for record in records if record.identity == records[0].identity]
        infrared, visible = (
            [record.path for record in of_one if record.modality is modality]
            for modality in (Modality.INFRARED, Modality.VISIBLE)
        )
        rows.append(in_row(infrared, visible))
    height = rows[0].height + 4
    drawn = Image.new("RGB", (max(row.width for row in rows), height * len(rows) - 4), "white")
    for index, row in enumerate(rows):
        drawn.paste(row, (0, height * index))
    return drawn


def beside_its_matches(blocks: list[Block]) -> Image.Image:
    """The query of `crossreid gallery search`, and after a gap its matches in the order in which they were printed."""
    (found,) = (
        after.printed or after.text
        for before, after in itertools.pairwise(blocks)
        if before.language == "bash" and "gallery search" in before.text
    )
    query, *matches = re.findall(r"\S+\.jpg", found)
    return in_row([query], matches)


def in_row(left: Sequence[str | Path], right: Sequence[str | Path]) -> Image.Image:
    """Images side by side at the size of the first, with a gap of half an image between `left` and `right`."""
    images = [Image.open(path).convert("RGB") for path in [*left, *right]]
    width, height = images[0].size
    row = Image.new("RGB", (width * len(images) + width // 2, height), "white")
    for index, image in enumerate(images):
        gap = width // 2 if index >= len(left) else 0
        row.paste(image.resize((width, height)), (width * index + gap, 0))
    return row


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture, at most 1000 pixels across; a PNG in 128 colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.thumbnail((1000, 10_000), Image.Resampling.LANCZOS)
    if path.suffix == ".png":
        picture.quantize(128).save(path, optimize=True)
    else:
        picture.save(path, quality=80, optimize=True)


def form_of(text: str) -> list[str]:
    """The lines of an output without what differs from run to run and from machine to machine: numbers, how often a line like the
    one before it follows, how long bars and rules are, and where a long line was broken."""
    lines: list[str] = []
    for line in text.splitlines():
        line = re.sub(r"[━─╸╺]+", "─", line)
        line = " ".join(re.sub(r"[+-]?\d[\d,.:]*(?<=\d)", "#", line).split())
        if line and line != (lines[-1] if lines else ""):
            lines.append(line)
    return " ".join(lines).split()


def differences(shown: str, printed: str) -> list[str]:
    """What an output that was printed has otherwise than the one that is shown, by `form_of`; none where it is the same."""
    return [each for each in difflib.ndiff(form_of(shown), form_of(printed)) if not each.startswith((" ", "?"))]


def with_outputs(page: str, blocks: list[Block], measured: str) -> str:
    """The page with what its commands printed, and with a line that says how that was measured."""
    rest = iter(blocks)

    def put(match: re.Match[str]) -> str:
        block = next(rest)
        return match[0] if block.printed is None else f"```text\n{block.printed}```"

    return _MEASURED.sub(lambda match: f"<!-- measured -->\n{measured}\n<!-- /measured -->", _BLOCK.sub(put, page))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="a file with timm's weights of tf_efficientnet_lite0")
    parser.add_argument("--write", metavar="MACHINE", help="put outputs and pictures into the page, as of this machine")
    parser.add_argument("--folder", type=Path, help="an empty folder to run in, kept; by default one that is removed")
    arguments = parser.parse_args()
    page, weights = TUTORIAL.read_text(encoding="utf-8"), arguments.weights.resolve()
    blocks = blocks_of(page)
    with contextlib.ExitStack() as stack:
        folder = (arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(contextlib.chdir(folder))
        shutil.copy(weights, "weights.safetensors")
        figures = FIGURES if arguments.write else folder / "drawn"

        def say(line: str) -> None:
            print(line, flush=True)
            Path("page.md").write_text(with_outputs(page, blocks, ""), encoding="utf-8")

        run_page(blocks, picture=figures / "search_page.png", say=say)
        say("drawing")
        draw(blocks, figures)
    for block in blocks:
        if block.printed is not None and (found := differences(block.text, block.printed)):
            print("\n".join(["otherwise than on the page:", block.printed, *found]))
    if arguments.write:
        when = datetime.now(UTC).date().isoformat()
        measured = f"(`python docs/tutorial_run.py WEIGHTS --write MACHINE`; {arguments.write}, {when}.)"
        page = TUTORIAL.read_text(encoding="utf-8")  # its text may have been worked on meanwhile
        if [block.text for block in blocks_of(page) if block.language != "text"] != [
            block.text for block in blocks if block.language != "text"
        ]:
            raise SystemExit(f"{TUTORIAL} has other commands now than those that were run.")
        TUTORIAL.write_text(with_outputs(page, blocks, measured), encoding="utf-8")


if __name__ == "__main__":
    main()
