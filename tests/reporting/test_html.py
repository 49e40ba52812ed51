"""The page, opened in a browser: it needs nothing but itself, and shows what it was given."""

import re
from dataclasses import replace

import numpy as np
import pytest

from browsing import browser  # noqa: F401
from crossreid.data.records import INFRARED, VISIBLE
from crossreid.evaluation.features import Features, positions_of
from crossreid.evaluation.procedure import evaluate
from crossreid.reporting.html import Report, write_report
from crossreid.reporting.ranked_lists import ranked_lists
from crossreid.reporting.score_table import ScoredMethod

HOSTILE = "<script>document.title = 'run'</script> & \"quotes\" $title"
METHOD = "Distilled <b>bold</b>"
WORLD = [
    (f"{identity:02d}", camera, INFRARED if camera in (3, 6) else VISIBLE)
    for identity in range(12)
    for camera in range(1, 7)
    for _ in range(2)
]


def features(signal, seed):
    """Embeddings of the same small world, told apart by identity as well as `signal` says."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(12, 8))
    owner = np.array([int(identity) for identity, _, _ in WORLD])
    light = np.array([int(modality) for _, _, modality in WORLD])
    return Features(
        signal * centres[owner] + generator.normal(size=(len(WORLD), 8)),
        np.array([identity for identity, _, _ in WORLD]),
        np.array([camera for _, camera, _ in WORLD]),
        light,
        positions_of([(identity, camera) for identity, camera, _ in WORLD]),
        np.array([f"{row}.jpg" for row in range(len(WORLD))]),
        np.where(light == int(INFRARED), "query", "gallery"),
    )


def picture(name):
    return np.random.default_rng(int(name.removesuffix(".jpg"))).integers(0, 256, (96, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def report():
    found = {METHOD: features(1.2, 0), "Raw pixels": features(0.2, 1)}
    entries = tuple(
        ScoredMethod(
            name, "what it is", tuple(evaluate(own, "sysu-mm01", settings=["all, single-shot", "indoor, single-shot"]))
        )
        for name, own in found.items()
    )
    rows = [
        {"step": s, "epoch": 0, "losses": {"<i>id</i>": 3 / s, "vsd": 1.0}, "total": 3 / s + 1} for s in range(1, 30)
    ]
    return Report(
        title=HOSTILE,
        summary="The first paragraph, <em>plain</em>.\n\nThe second.",
        entries=entries,
        features=found,
        ranked={METHOD: ranked_lists(found[METHOD], picture, protocol="sysu-mm01", queries=3, depth=10)},
        history={METHOD: [*rows, {"step": 29, "epoch": 0, "validation": {"rank-1": 0.5}}]},
        recipe="method:\n  name: </code><script>x</script>",
        environment={"Python": "3.11", "device": "<cpu>"},
        commands=("crossreid train 'a & b.yaml'",),
    )


@pytest.fixture(scope="module")
def path(report, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("page") / "deep" / "report.html", report)


@pytest.fixture(scope="module")
def opened(browser, path):  # noqa: F811
    """The page, with all that it asked for and complained of."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.asked, page.said = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    yield page
    context.close()


@pytest.fixture
def page(opened):
    """The same page for all tests, at its own width; those that press keys load it again."""
    opened.set_viewport_size({"width": 1280, "height": 900})
    opened.emulate_media(color_scheme="light")
    return opened


def test_page_asks_for_nothing_and_complains_of_nothing(page, path):
    assert {url for url in page.asked if not url.startswith("data:")} == {path.as_uri()}
    assert page.said == []
    assert not re.search(r"https?://(?!www\.w3\.org/)|<script|@import|url\((?!#)", path.read_text(encoding="utf-8"))


def test_text_that_is_handed_in_stays_text(page):
    assert page.title() == HOSTILE
    assert page.inner_text("h1") == HOSTILE
    assert page.locator("script").count() == 0
    assert page.locator(".summary p").all_inner_texts() == ["The first paragraph, <em>plain</em>.", "The second."]
    assert METHOD in page.inner_text(".bars")
    assert "</code><script>x</script>" in page.locator("details pre").text_content()
    assert page.locator("#training figcaption").all_inner_texts()[-2:] == ["<i>id</i>", "vsd"]


def test_tables_hold_the_scores(page, report):
    assert page.locator("table.scores").count() == 2
    for number, setting in enumerate(("all, single-shot", "indoor, single-shot")):
        rows = page.locator("table.scores").nth(number).locator("tbody tr")
        for place, entry in enumerate(report.entries):
            score = next(score for score in entry.scores if score.setting == setting)
            shown = [text.split() for text in rows.nth(place).locator("td").all_inner_texts()]
            means = [np.mean([t.cmc[k - 1] for t in score.trials]) for k in (1, 5, 10)]
            assert [float(cell[0]) for cell in shown[:3]] == pytest.approx([100 * mean for mean in means], abs=0.0051)
            spread = np.std([trial.mAP for trial in score.trials])
            assert float(shown[4][2]) == pytest.approx(100 * spread, abs=0.0051)
            assert float(shown[6][0]) == pytest.approx(100 * score.chance_rank1, abs=0.0051)
    assert "seeded draw (seed 0)" in page.inner_text("#scores")
    assert page.locator("#scores .conditions").first.inner_text().endswith("re-ranked\nno")


def test_images_are_decoded_and_marked_right_or_wrong(page, report):
    lists = report.ranked[METHOD]
    sizes = page.eval_on_selector_all(
        "img", "all => all.map(i => [i.complete, i.naturalWidth, i.naturalHeight, i.alt])"
    )
    assert len(sizes) == sum(1 + len(item.hits) for item in lists)
    assert all(done and (width, height) == (48, 96) for done, width, height, _ in sizes)
    spoken = iter(alt for *_, alt in sizes)
    for number, item in enumerate(lists):
        assert next(spoken) == f"Query: identity {item.query.identity}, infrared, camera {item.query.camera}"
        shown = page.locator(".list").nth(number).locator("li")
        for place, hit in enumerate(item.hits):
            verdict = "right" if hit.thumbnail.identity == item.query.identity else "wrong"
            assert next(spoken).startswith(f"Rank {place + 1}, {verdict}: identity {hit.thumbnail.identity}, visible")
            assert shown.nth(place).get_attribute("class") == verdict
            assert shown.nth(place).locator(f"svg.{'tick' if verdict == 'right' else 'cross'}").count() == 1


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_screen(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # What is too wide may scroll in a frame of its own, that the keyboard reaches.
    outside = """all => all.filter(e => e.getBoundingClientRect().right > innerWidth + 1
        && !e.closest('.scroll, pre, .skip, svg')).map(e => e.outerHTML.slice(0, 80))"""
    assert page.eval_on_selector_all("body *", outside) == []
    assert page.locator(".scroll").first.get_attribute("tabindex") == "0"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_ground(page, scheme):
    page.emulate_media(color_scheme=scheme)

    def luminance(colour):
        channels = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    ground = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (ground > 0.9) == (scheme == "light")
    colours = page.evaluate(
        "[...document.querySelectorAll('h1, p, td, th, small')].map(e => getComputedStyle(e).color)"
    )
    colours += page.evaluate("[...document.querySelectorAll('.chart text')].map(e => getComputedStyle(e).fill)")
    for colour in set(colours):
        light, dark = sorted((luminance(colour), ground), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour  # WCAG 2, level AA


def test_page_can_be_read_without_seeing_it(page):
    identifiers = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(identifiers) == len(set(identifiers))
    charts = page.eval_on_selector_all(
        "svg.chart", "all => all.map(e => [e.getAttribute('role'), e.getAttribute('aria-label')])"
    )
    assert len(charts) == 2 + 2 + 1 + 3
    assert all(role == "img" and len(label) > 20 for role, label in charts)
    links = page.eval_on_selector_all("a[href^='#']", "all => all.map(e => e.getAttribute('href').slice(1))")
    assert {"scores", "cmc", "ranked", "map", "training", "recipe"} == set(links) <= set(identifiers)
    assert page.locator("tbody th[scope=row]").count() == 4
    page.reload()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


def test_the_recipe_unfolds_by_keyboard(page):
    page.reload()
    assert not page.locator("details pre").is_visible()
    page.locator("summary").focus()
    for unfolded in (True, False):
        page.keyboard.press("Enter")
        assert page.locator("details pre").is_visible() == unfolded


def test_same_report_same_bytes_and_nothing_is_left_behind(report, path, tmp_path):
    again = write_report(tmp_path / "report.html", report)
    assert again.read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert len(path.read_bytes()) < 3_000_000


def test_a_report_of_scores_alone_leaves_the_rest_out(report, tmp_path):
    bare = Report(title="Scores", summary="", entries=report.entries[1:])
    text = write_report(tmp_path / "r.html", bare).read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)"', text) == ["scores", "cmc"]


def test_a_page_that_cannot_be_written_leaves_the_old_one(report, tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old", encoding="utf-8")
    broken = replace(report, recipe="\ud800", features={}, ranked={}, history={})
    with pytest.raises(UnicodeEncodeError):
        write_report(target, broken)
    assert target.read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_what_does_not_fit_together_is_refused(report):
    with pytest.raises(ValueError, match="at least one entry"):
        Report(title="x", summary="", entries=())
    with pytest.raises(ValueError, match="different names"):
        Report(title="x", summary="", entries=report.entries[:1] * 2)
    with pytest.raises(ValueError, match="history of 'stranger': no such entry"):
        Report(title="x", summary="", entries=report.entries, history={"stranger": []})
