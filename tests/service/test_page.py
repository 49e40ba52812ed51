"""The page of the service in a browser, against the service itself: what a person does with it."""

import base64
import csv
import hashlib
import io
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from calibrated import known_calibration
from crossreid.galleries import Filter
from crossreid.galleries.judging import Threshold
from crossreid.galleries.marks import read_marks
from page_actions import (
    FORMULA,
    HOSTILE,
    ZONE,
    K,
    agree,
    embedded,
    listed,
    place_of,
    search_files,
    stop_the_clock,
    until,
)

pytest_plugins = ("served_page",)


def test_an_image_finds_its_own_entry_and_the_list_says_what_it_is(opened, served):
    page = opened()
    search_files(page, [served.files[5]], "visible")
    expected = served.ranked(embedded(served, [5]))[:K]
    agree(listed(page), expected)
    expect(page.get_by_role("status").first).to_have_text(f"{K} matches, best score {expected[0][1]:.2f}")
    assert page.inner_text("#results-of") == f"{K} matches for {served.files[5].name}, visible; whole gallery."
    assert "never proof" in page.inner_text("#results")
    assert "not probabilities" in page.inner_text("#results")
    assert "%" not in page.inner_text("#results")
    expect(page.locator("#unknown")).to_be_hidden()
    expect(page.locator(".chance")).to_have_count(0)
    for place in range(K):  # as they come near the screen
        page.locator("#matches li").nth(place).scroll_into_view_if_needed()
    frames = page.locator("#matches .picture")
    expect(page.locator("#matches img")).to_have_count(K - page.locator("#matches .picture.empty").count())
    sizes = frames.evaluate_all("all => all.map(f => f.querySelector('img')?.naturalHeight ?? f.innerText)")
    shown = [name for name, _ in listed(page)]
    assert sizes == ["no image" if name in ("@source", FORMULA) else 96 for name in shown]
    first = page.locator("#matches li").first.locator("dd").all_inner_texts()
    row = served.ids.index(expected[0][0])
    local = datetime.fromtimestamp(served.times[row] + 19_800, UTC).strftime("%Y-%m-%d %H:%M:%S")
    light = "infrared" if served.modalities[row] else "visible"
    assert first == [served.identities[row], f"{light}, camera {served.cameras[row]}", local, served.ids[row]]


@pytest.fixture
def calibrated(served):
    service = served.service
    service.calibration = known_calibration(service.model.fingerprint, low=-1.0, high=1.4)
    yield service
    service.calibration, service.threshold = None, Threshold()


def test_probabilities_and_unknown_and_another_size_are_shown(opened, served, calibrated):
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
    # A gallery of another size than the threshold was measured with is said.
    measured = dict.fromkeys(calibrated.calibration.curves, 100_000)
    calibrated.calibration = replace(calibrated.calibration, entries=measured)
    for threshold, warned in ((Threshold(false_accept_rate=0.01), True), (Threshold(0.6), False)):
        calibrated.threshold = threshold
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.locator("#warning")).to_be_visible(visible=warned)
        if warned:
            expect(page.locator("#warning")).to_contain_text(
                "Warning: the threshold of false-accept rate 0.01 was measured with 200,000"
            )


def test_several_images_are_one_tracklet_and_each_can_be_removed(opened, served):
    page = opened()
    search_files(page, served.files[6:9], "visible")
    assert "3 images are searched as one tracklet" in page.inner_text("#query-note")
    agree(listed(page), served.ranked(embedded(served, [6, 7, 8]))[:K])
    page.get_by_role("button", name=f"Remove {served.files[7].name}").click()
    expect(page.locator("#query-images li")).to_have_count(2)
    expect(page.locator("#stale")).to_be_visible()
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#stale")).to_be_hidden()
    agree(listed(page), served.ranked(embedded(served, [6, 8]))[:K])
    page.set_input_files("#files", [served.files[6]])
    expect(page.locator("#query-fault")).to_contain_text("already in the query")


def test_an_entry_asks_and_its_matches_ask_on(opened, served):
    page = opened()
    expect(page.locator("#samples li")).to_have_count(12)
    held = []
    page.route("**/v1/sample*", lambda route: held.append(route))
    for _ in range(2):
        page.get_by_role("button", name="Draw others").click()
    until(page, lambda: len(held) == 2)
    with page.expect_response(held[1].request.url) as others:
        held[1].continue_()
    asked = others.value.json()["entries"][5]
    expect(page.locator("#samples li").nth(5).locator("dd").last).to_have_attribute("title", asked["source"])
    with page.expect_response(held[0].request.url) as former:  # and is answered too late
        held[0].continue_()
    former.value.finished()
    expect(page.locator("#samples li").nth(5).locator("dd").last).to_have_attribute("title", asked["source"])
    asked = asked["id"]
    page.locator("#samples .open").nth(5).click()
    query = served.embeddings[served.ids.index(asked)]
    agree(listed(page), served.ranked(query, without=[asked])[:K])
    expect(page.locator("#start")).to_be_hidden()
    place = next(place for place, (name, _) in enumerate(listed(page)) if name in served.ids)
    follows = listed(page)[place][0]
    page.locator("#matches li").nth(place).get_by_role("button", name="Search with").click()
    expect(page.locator("#results-of")).to_contain_text(f"for entry {follows}, ")
    agree(listed(page), served.ranked(served.embeddings[served.ids.index(follows)], without=[follows])[:K])
    page.get_by_role("button", name="Back to the previous query").click()
    expect(page.locator("#results-of")).to_contain_text(f"for entry {asked}, ")
    expect(page.get_by_role("button", name="Back to the previous query")).to_be_hidden()


def test_filters_hold_together_are_told_and_reset(opened, served, monkeypatch):
    page = opened()
    search_files(page, [served.files[0]], "visible")
    query = embedded(served, [0])
    counts = dict(zip(*np.unique(served.cameras, return_counts=True), strict=True))
    boxes = page.locator("#cameras label").evaluate_all(
        "all => all.map(e => [e.querySelector('input').value, e.querySelector('small').textContent])"
    )
    assert boxes == [[str(camera), str(count)] for camera, count in sorted(counts.items())]
    page.locator("input[name=filter_modality][value=infrared]").check()
    page.locator("input[name=camera][value='3']").check()
    page.locator("input[name=camera][value='6']").check()
    page.get_by_label("From", exact=True).fill("2026-11-21T15:45:00")  # 10:15 UTC
    page.get_by_label("Until, exclusive").fill("2026-11-21T19:10:00")
    page.get_by_label("Number of matches").fill("3")
    expect(page.locator("#active")).to_have_text(
        "Set: infrared only; cameras 3, 6; from 2026-11-21 15:45:00; until 2026-11-21 19:10:00."
    )
    assert f"{ZONE.replace('Kolkata', '')}" in page.inner_text("#zone")
    assert "UTC+05:30" in page.inner_text("#zone")
    page.keyboard.press("Enter")
    expect(page.locator("#results-of")).to_contain_text("infrared only; cameras 3, 6")
    since, until = (datetime(2026, 11, 21, *at, tzinfo=UTC).timestamp() for at in ((10, 15), (13, 40)))
    timely = (served.times >= since) & (served.times < until)
    keep = (served.modalities == 1) & np.isin(served.cameras, (3, 6)) & timely
    assert 3 < keep.sum() < 8
    agree(listed(page), served.ranked(query, keep)[:3])
    page.get_by_role("button", name="Reset filters").click()
    expect(page.locator("#active")).to_have_text("No filter: the whole gallery is searched.")
    page.get_by_label("Identity", exact=True).fill(served.identities[7])
    page.locator("#more summary").click()
    page.get_by_label("Source starts with").fill(served.ids[7][:-5])
    page.keyboard.press("Enter")
    expect(page.locator("#results-of")).to_contain_text(f"identity {served.identities[7]}; source starts with")
    expected = served.service.gallery.search(
        query[None], 3, Filter(identity=served.identities[7], source_prefix=served.ids[7][:-5])
    )[0]
    assert [name for name, _ in listed(page)] == list(expected.ids) != []
    page.get_by_label("Identity", exact=True).fill("nobody")
    page.keyboard.press("Enter")
    expect(page.locator("#results-of")).to_contain_text("0 matches")
    expect(page.locator("#results-of")).to_contain_text("widen or reset")
    page.get_by_label("Identity", exact=True).fill(f"  {served.identities[7]} ")
    expect(page.locator("#active")).to_have_text(re.compile(f"^Set: identity {served.identities[7]}; source starts"))
    page.get_by_label("Identity", exact=True).fill("nobody")
    page.get_by_label("Number of matches").fill("0")
    page.keyboard.press("Enter")
    expect(page.locator("#ask-fault")).to_have_text("Number of matches: expected 1 to 200.")
    expect(page.locator("#active")).to_have_text(re.compile("^Set: identity nobody; source starts with"))
    page.get_by_label("From", exact=True).press("5")  # a month alone
    expect(page.locator("#active")).to_have_text(re.compile("^From: the time is not complete"))
    for year in ("12026", "275759"):
        page.get_by_label("From", exact=True).fill(f"{year}-11-21T10:00")
        expect(page.locator("#active")).to_have_text("From: expected a year from 1 to 9999.")
    page.get_by_role("button", name="Reset filters").click()
    gallery, nobody = served.service.gallery, Filter(identity="nobody")
    found = gallery.search(query[None], 1, nobody)  # as of an empty gallery
    monkeypatch.setattr(gallery, "search", lambda *_, **__: found)
    page.get_by_label("Number of matches").fill("20")
    page.keyboard.press("Enter")
    expect(page.locator("#results-of")).to_have_text(
        f"0 matches for {served.files[0].name}, visible; whole gallery. The gallery holds no entry."
    )


def pixels(page, side):
    """What a side's canvas holds, `(H, W, 4)`, and what is on the screen there."""
    drawn = page.locator(f"#side-{side} canvas").evaluate("c => c.toDataURL()")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn.partition(",")[2]))).convert("RGBA"))
    screen = np.asarray(Image.open(io.BytesIO(page.locator(f"#side-{side} .stage").screenshot())).convert("RGB"))
    return picture.astype(int), screen.astype(int)


def test_attention_is_laid_over_both_images(opened, served):
    page = opened()
    told = []
    page.on("response", lambda response: told.append(response) if response.url.endswith("/v1/attention") else None)
    search_files(page, served.files[6:8], "visible")
    place = next(
        place
        for place, (name, _) in enumerate(listed(page))
        if name in served.ids[:-2] and served.modalities[served.ids.index(name)]
    )
    page.locator("#matches .open").nth(place).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("where the similarity of these two images")
    maps = told[-1].json()
    offered = dialog.get_by_label("Encoder").locator("option").all_inner_texts()
    assert offered == ["shared", "visible, infrared"]  # what both passed, and what either did of its own
    assert dialog.get_by_label("Encoder").input_value() == "shared"
    match = served.embeddings[served.ids.index(listed(page)[place][0])]
    assert maps["similarity"] == pytest.approx(float(embedded(served, [6]) @ match), abs=1e-4)
    assert f"{maps['similarity']:.3f}" in dialog.inner_text()
    spans, painted_sides = [], []
    for choice in offered:
        dialog.get_by_label("Encoder").select_option(choice)
        names = (choice.split(", ") * 2)[:2]
        for side, encoder in zip(("query", "match"), names, strict=True):
            heat = next((torch.tensor(m["heat"]) for m in maps[side]["maps"] if m["encoder"] == encoder), None)
            if heat is None or heat.max() == 0:
                expect(page.locator(f"#side-{side} canvas")).to_be_hidden()
                continue
            painted, _ = pixels(page, side)
            smooth = torch.nn.functional.interpolate(
                heat[None, None] / heat.max(), size=painted.shape[:2], mode="bilinear", align_corners=False
            )
            inferno = matplotlib.colormaps["inferno"](smooth[0, 0].clamp(0, 1).numpy()) * 255
            assert np.abs(painted[..., :3] - inferno[..., :3]).max() < 10  # 17 colours of inferno's 256
            assert (painted[..., 3] == 255).all()
            spans.append(np.ptp(painted[..., 0]))
            painted_sides.append((choice, side))
    assert max(spans) > 15  # not one colour
    choice, side = painted_sides[int(np.argmax(spans))]
    dialog.get_by_label("Encoder").select_option(choice)
    _, over = pixels(page, side)
    dialog.get_by_label("Opacity").fill("20")
    _, faint = pixels(page, side)
    page.keyboard.press("a")
    expect(page.locator("#side-query canvas")).to_be_hidden()
    _, plain = pixels(page, side)
    assert np.abs(over - plain).mean() > np.abs(over - faint).mean() > 1
    page.keyboard.press("a")
    expect(page.locator(f"#side-{side} canvas")).to_be_visible()
    dialog.get_by_label("Image of the query").select_option("1")
    expect(dialog).to_contain_text("Query image 2 of 2")
    expect(page.locator("#attention-note")).to_contain_text("these two images")
    assert len(told) == 2
    assert told[1].json()["query"] != maps["query"]


def test_what_was_looked_at_is_not_fetched_again(opened, served):
    page = opened()
    page.refused.append(429)
    maps = []
    page.on("request", lambda request: maps.append(request) if request.url.endswith("/v1/attention") else None)
    page.route("**/v1/attention", lambda route: route.fulfill(status=429, headers={"Retry-After": "1"}), times=1)
    search_files(page, [served.files[0]])
    names = [name for name, _ in listed(page)]
    found = page.locator("#attention-note", has_text="of these two images")
    page.locator("#matches .open").first.click()
    expect(found).to_be_visible()
    assert len(maps) == 2  # the first was put off, and asked for again
    # Who passes by asks for no map.
    to = next(place for place in range(4, K) if names[place] in served.ids[:24])
    stop_the_clock(page)
    for _ in range(to):
        page.keyboard.press("ArrowRight")
        page.clock.run_for(150)
    expect(page.get_by_role("heading", name=re.compile(f"Match {to + 1} of 20"))).to_be_visible()
    expect(page.locator("#attention-note")).to_have_text("Computing attention …")
    assert len(maps) == 2
    page.clock.run_for(100)
    expect(found).to_be_visible()
    assert len(maps) == 3
    page.clock.resume()
    expect(page.locator("#side-match img")).to_be_visible()
    page.keyboard.press("Home")
    expect(page.locator("#side-match img")).to_be_visible()
    page.keyboard.press("Escape")
    asked = len(page.asked)
    for place in (to, 0):
        page.locator("#matches .open").nth(place).click()
        expect(found).to_be_visible()
        expect(page.get_by_role("img", name=re.compile(f"^Match {place + 1}: "))).to_be_visible()
        page.keyboard.press("Escape")
    assert not any("/v1/attention" in url or "size=1024" in url for url in page.asked[asked:])


HELD = """
    const { get, set } = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
    window.held = null;
    Object.defineProperty(HTMLImageElement.prototype, "src", { get, set(url) {
        if (!this.alt.startsWith("Query image 1 of 2")) set.call(this, url);
        else window.held = () => new Promise((done) => { this.addEventListener("load", done); set.call(this, url); });
    } });
"""


def test_a_picture_that_comes_late_leaves_another_alone(opened, served, tmp_path):
    page = opened(script=HELD)
    Image.new("RGB", (600, 200), "grey").save(tmp_path / "wide.png")
    search_files(page, [tmp_path / "wide.png", served.files[0]])
    page.locator("#matches .open").nth(place_of(page, served.ids[0])).click()
    expect(page.locator("#attention-note")).to_contain_text("these two images")
    page.get_by_label("Image of the query").select_option("1")
    expect(page.get_by_role("img", name="Query image 2 of 2")).to_be_visible()
    expect(page.locator("#attention-note")).to_contain_text("these two images")
    state = """() => { const stage = document.querySelector("#side-query .stage"), canvas = stage.querySelector("canvas");
        return [stage.style.getPropertyValue("--shape"), canvas.width, canvas.height]; }"""
    before = page.evaluate(state)
    assert before == ["0.5", 192, 384]
    page.evaluate("held()")
    assert page.evaluate(state) == before


def test_matches_are_compared_and_marked_one_after_another(opened, served):
    page = opened()
    search_files(page, [served.files[1]])
    page.locator("#matches .open").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(page.get_by_role("dialog", name=re.compile(r"Match 2 of 20, score 0\.\d{3}"))).to_be_visible()
    page.keyboard.press("r")
    expect(dialog.get_by_role("button", name="right")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name=re.compile("Match 3 of 20"))).to_be_visible()
    expect(dialog.get_by_role("button", name="right")).to_have_attribute("aria-pressed", "false")
    dialog.get_by_role("button", name="wrong").click()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#matches .open").nth(2)).to_be_focused()
    expect(page.locator("#marks-count")).to_have_text("1 right, 1 wrong in this tab; 2 of 20 here")
    states = page.locator("#matches li").evaluate_all("all => all.slice(0, 4).map(e => e.className.split(' ').at(-1))")
    assert states == ["match", "right", "wrong", "match"]
    assert page.locator("#matches .verdict").nth(1).inner_text() == "✓ right"
    page.locator("#matches .open").nth(place_of(page, "@source")).click()
    expect(dialog).to_contain_text("no image, so it has no attention map")
    page.keyboard.press("Home")
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    page.keyboard.press("End")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    # Mark and go on, past what has a mark; a key that is held says nothing more, and Caps Lock does not matter.
    page.keyboard.press("Home")
    said = dialog.locator(".spoken")
    page.keyboard.press("Shift+W")
    expect(said).to_have_text(re.compile(r"^Match 1: wrong\. Match 4 of 20, score 0\.\d{3}, not marked$"))
    page.keyboard.press("Shift+R")
    page.keyboard.press("ArrowLeft")
    expect(said).to_have_text(re.compile(r"^Match 4 of 20, score 0\.\d{3}, marked right$"))
    page.keyboard.press("W")
    expect(said).to_have_text("Match 4: wrong.")
    page.keyboard.down("u")
    page.keyboard.down("r")
    page.keyboard.down("r")
    expect(dialog.get_by_role("button", name="right")).to_have_attribute("aria-pressed", "true")
    page.keyboard.up("r")
    page.keyboard.press("End")
    page.keyboard.press("Shift+R")
    expect(said).to_have_text("Match 20: right. All matches after it are marked.")
    # A click that begins in the dialog is none beside it.
    box = dialog.bounding_box()
    page.mouse.move(box["x"] + 30, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(3, 3)
    page.mouse.up()
    expect(dialog).to_be_visible()
    page.mouse.click(3, 3)
    expect(dialog).to_be_hidden()
    page.keyboard.press("Enter")
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('QuotaExceededError'); }; }")
    page.keyboard.press("w")
    expect(dialog.get_by_text("This tab cannot store more marks")).to_be_visible()
    page.keyboard.press("s")
    expect(dialog).to_be_hidden()
    expect(page.locator("#query-note")).to_contain_text("The query is an entry of the gallery")


def test_without_attention_without_counts_of_cameras_and_with_a_model_that_is_not_finished(opened, served, monkeypatch):
    uncounted = replace(served.service.gallery.stats(), cameras=None)
    monkeypatch.setattr(served.service, "explainer", None)  # as of a run that is served by ONNX Runtime
    monkeypatch.setattr(served.service.gallery, "stats", lambda: uncounted)  # as of a cluster
    monkeypatch.setattr(served.service.model, "trained", "not finished: 6 steps, 0 of 24 epochs")
    page = opened()
    expect(page.locator("#about")).to_contain_text("26 kept until deleted")
    assert "Training not finished: 6 steps, 0 of 24 epochs Entries" in " ".join(
        page.locator("#about").inner_text().split()
    )
    assert f"Fingerprint {served.service.model.fingerprint}. " in page.get_by_text(
        "variational_distillation"
    ).get_attribute("title")
    page.get_by_label("Numbers, separated by commas").fill("3, 6")
    search_files(page, [served.files[2]])
    agree(listed(page), served.ranked(embedded(served, [2]), np.isin(served.cameras, (3, 6)))[:K])
    page.get_by_label("Numbers, separated by commas").fill("3, north")
    page.keyboard.press("Enter")
    expect(page.locator("#ask-fault")).to_have_text("Cameras: expected whole numbers separated by commas.")
    page.locator("#matches .open").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("Attention maps are not available")
    expect(page.get_by_label("Opacity")).to_be_hidden()
    assert not any("/v1/attention" in url for url in page.asked)


def exported(page):
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as CSV").click()
    assert re.fullmatch(r"marks-\d{4}-\d\d-\d\dT\d{6}\.csv", download.value.suggested_filename)
    return Path(download.value.path()).read_bytes()


def test_marks_are_kept_and_exported(opened, served, tmp_path):
    page = opened()
    names = ["a, b.jpg", '-"two".jpg']
    for name, source in zip(names, served.files[0:2], strict=True):
        shutil.copy(source, tmp_path / name)
    search_files(page, [tmp_path / name for name in names])
    page.get_by_label("Number of matches").fill("200")
    page.keyboard.press("Enter")
    expect(page.locator("#matches li")).to_have_count(len(served.ids))
    matches = [{"@source": HOSTILE}.get(name, name) for name, _ in listed(page)]
    wanted = {served.ids[3]: "right", HOSTILE: "wrong", FORMULA: "wrong"}
    for name, mark in wanted.items():
        page.locator("#matches .open").nth(matches.index(name)).focus()
        page.keyboard.press(mark[0])
    place = matches.index(served.ids[4])
    for keys in ("ru", "ww", "rww"):  # each ends without a mark
        page.locator("#matches .open").nth(place).focus()
        for key in keys:
            page.keyboard.press(key)
        expect(page.locator("#matches .verdict").nth(place)).to_be_empty()
    expect(page.locator("#marks-count")).to_have_text("1 right, 2 wrong in this tab; 3 of 26 here")
    page.get_by_label("Identity", exact=True).press("w")
    assert page.get_by_label("Identity", exact=True).input_value() == "w"
    content = exported(page)
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    header = (
        "query,query_sha256,query_modality,query_path,query_identity,query_camera,query_time,"
        "mark,score,rank,id,path,identity,camera,modality,time,model"
    )
    assert content.startswith(b"\xef\xbb\xbf" + f"{header}\r\n".encode())  # as spreadsheets tell UTF-8
    assert rows[0] == header.split(",")
    assert len(rows) == 1 + len(wanted) * len(names)
    scores = dict(served.ranked(embedded(served, [0, 1])))
    safe = {FORMULA: f"'{FORMULA}", "@source": "'@source", "-7": "'-7", names[1]: f"'{names[1]}"}
    for row, (name, mark) in zip(rows[1:], [each for each in wanted.items() for _ in names], strict=True):
        at = served.ids.index(name)
        source = "@source" if name == HOSTILE else name
        when = datetime.fromtimestamp(served.times[at], UTC).isoformat().replace("+00:00", "Z") if at < 24 else ""
        assert row[2:8] == ["visible", "", "", "", "", mark]
        assert float(row[8]) == pytest.approx(scores[name], abs=1e-5)
        assert row[9] == str(matches.index(name) + 1)
        identity = served.identities[at]
        assert row[10:] == [
            safe.get(name, name), safe.get(source, source), safe.get(identity, identity), str(served.cameras[at]),
            "infrared" if served.modalities[at] else "visible", when, served.service.model.fingerprint,
        ]  # fmt: skip
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in served.files[0:2]]
    assert [row[:2] for row in rows[1:3]] == [[names[0], digests[0]], [safe[names[1]], digests[1]]]
    (tmp_path / "marks.csv").write_bytes(content)
    for mark, (name, query) in zip(
        read_marks(tmp_path / "marks.csv"), [(name, query) for name in wanted for query in names], strict=True
    ):
        assert (mark.query, mark.id, mark.right) == (query, name, wanted[name] == "right")
        assert (mark.sha256, mark.asking.path) == (digests[names.index(query)], Path())
        assert mark.entry.identity == served.identities[served.ids.index(name)]
        assert mark.entry.path == Path("@source" if name == HOSTILE else name)
    # Another query has marks of its own; the same files again, those they had; leaving the page loses nothing.
    page.reload()
    expect(page.locator("#marks-count")).to_have_text("1 right, 2 wrong in this tab")
    search_files(page, [tmp_path / names[0]])
    assert page.locator("#matches .verdict").all_inner_texts() == [""] * K
    page.set_input_files("#files", [tmp_path / names[1]])
    page.get_by_label("Number of matches").fill("200")
    page.keyboard.press("Enter")
    expect(page.locator("#matches li")).to_have_count(len(served.ids))
    assert sorted(filter(None, page.locator("#matches .verdict").all_inner_texts())) == [
        "✓ right",
        "✗ wrong",
        "✗ wrong",
    ]
    page.get_by_role("button", name="Clear marks").click()
    expect(page.get_by_role("dialog")).to_contain_text("3 marks in this tab will be lost")
    page.get_by_role("button", name="Keep them").click()
    expect(page.locator("#marks-count")).to_have_text("1 right, 2 wrong in this tab; 3 of 26 here")
    page.get_by_role("button", name="Clear marks").click()
    page.get_by_role("button", name="Clear them").click()
    expect(page.get_by_role("button", name="Export as CSV")).to_be_hidden()
    assert page.evaluate("sessionStorage.getItem('crossreid.marks')") is None


def test_marks_of_an_entry_say_what_is_known_of_it(opened, served, tmp_path):
    page = opened()
    search_files(page, [served.files[0]])
    page.get_by_label("Number of matches").fill("200")
    page.keyboard.press("Enter")
    expect(page.locator("#matches li")).to_have_count(len(served.ids))
    asking = [HOSTILE, served.ids[3]]  # of the first neither time nor camera is known
    for name in asking:
        shown = {HOSTILE: "@source"}.get(name, name)
        page.locator("#matches li").nth(place_of(page, shown)).get_by_role("button", name="Search with").click()
        expect(page.locator("#results-of")).to_contain_text(f"for entry {name}, ")
        page.locator("#matches .open").nth(place_of(page, served.ids[5])).focus()
        page.keyboard.press("r")
    content = exported(page)
    first, second = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    light = "infrared" if served.modalities[3] else "visible"
    when = datetime.fromtimestamp(served.times[3], UTC).isoformat().replace("+00:00", "Z")
    assert [first[name] for name in first if name.startswith("query")] == [
        f"id:{HOSTILE}", "", "visible", "'@source", HOSTILE, "0", "",
    ]  # fmt: skip
    assert [second[name] for name in second if name.startswith("query")] == [
        f"id:{served.ids[3]}", "", light, served.ids[3], served.identities[3], str(served.cameras[3]), when,
    ]  # fmt: skip
    (tmp_path / "marks.csv").write_bytes(content)
    for mark, name in zip(read_marks(tmp_path / "marks.csv"), asking, strict=True):
        at = served.ids.index(name)
        assert (mark.query, mark.sha256, mark.id) == (f"id:{name}", "", served.ids[5])
        assert mark.asking.path == Path({HOSTILE: "@source"}.get(name, name))
        assert mark.asking.identity == served.identities[at]
        assert mark.asking.camera == served.cameras[at]
        assert mark.asking.time == (None if np.isnan(served.times[at]) else served.times[at])


def test_a_key_is_asked_for_kept_in_the_tab_and_forgotten(opened, served):
    page = opened(key=None)
    page.refused.append(401)
    dialog = page.get_by_role("dialog", name="API key")
    expect(dialog).to_be_visible()
    assert page.locator("#key").get_attribute("type") == "password"
    page.get_by_label("Key of this service").fill("crossreid_wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#unlock-fault")).to_contain_text("The key is unknown")
    page.keyboard.press("Escape")
    expect(page.locator("#about-fault")).to_contain_text("The key is unknown")
    page.get_by_role("button", name="Forget the key").click()
    expect(dialog).to_be_visible()
    page.get_by_label("Key of this service").fill(served.key)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    about = page.locator("#about")
    expect(about).to_contain_text("26 kept until deleted")
    model = served.service.model
    assert about.inner_text().split() == (
        f"Key night desk search Model {model.method} {model.fingerprint[:12]}, 48 \u00d7 32 pixels "
        "Entries 26 kept until deleted".split()
    )
    expect(page.locator("#samples img").first).to_be_visible()
    assert page.evaluate("[sessionStorage.getItem('crossreid.key'), localStorage.length, document.cookie]") == [
        served.key, 0, "",
    ]  # fmt: skip
    assert not any(served.key in url for url in page.asked)
    page.get_by_role("button", name="Forget the key").click()
    expect(dialog).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('crossreid.key')") is None
    expect(page.locator("#samples li")).to_have_count(0)
