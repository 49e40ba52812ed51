"""Fixtures: a service of rendered people on a port of its own, and its page in a browser."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsing import amiss, browser, page_of  # noqa: F401
from crossreid.data.records import INFRARED, VISIBLE, Record
from crossreid.data.synthetic import synthesise
from crossreid.galleries import open_gallery
from crossreid.galleries.entries import Entries
from crossreid.inference.embedding_model import prepared
from crossreid.inference.open_model import open_model
from crossreid.service.application import create_app
from crossreid.service.configuration import ServiceOptions
from crossreid.service.explainer import Explainer
from crossreid.service.keys import Keys, add_key
from crossreid.service.search_service import SearchService
from page_actions import FORMULA, HOSTILE, START, ZONE
from served import on_a_port
from small_model import recipe_of, write_run


@dataclass
class Served:
    """The service as it runs: its address, the text of a key, and what its gallery holds, row by row."""

    url: str
    key: str
    service: SearchService
    guard: Any
    files: list[Path]
    ids: list[str]
    embeddings: np.ndarray
    cameras: np.ndarray
    modalities: np.ndarray
    times: np.ndarray
    identities: list[str | None]

    def ranked(self, query, keep=None, without=()):
        """Ids by cosine similarity to a query `(D,)`, best first, of the rows that `keep` says."""
        rows = np.flatnonzero(np.ones(len(self.ids), bool) if keep is None else keep)
        scores = self.embeddings[rows].astype(np.float64) @ (query / np.linalg.norm(query))
        order = sorted(range(len(rows)), key=lambda at: (-scores[at], self.ids[rows[at]]))
        return [(self.ids[rows[at]], scores[at]) for at in order if self.ids[rows[at]] not in without]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    world = synthesise(folder / "world", "manifest", 4, 0, images_per_camera=1, size=(96, 48), workers=1)
    with (world / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    write_run(folder / "run", recipe_of("variational_distillation"))
    model = open_model(folder / "run", device="cpu")
    modalities = np.array([INFRARED if row["modality"] == "infrared" else VISIBLE for row in rows], dtype=np.int64)
    records = [Record(world / row["path"], "", 0, kind) for row, kind in zip(rows, modalities, strict=True)]
    embeddings = model.embed(*prepared(model, records)).numpy()
    # Two more, of no image, one of them near to the first: texts that would do something, were they more than text.
    embeddings = np.concatenate([embeddings, embeddings[:1] + 0.01 * embeddings[1:2], -embeddings[:1]])
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    ids = [row["path"] for row in rows] + [HOSTILE, FORMULA]
    entries = Entries(
        embeddings, ids=ids, sources=[row["path"] for row in rows] + ["@source", FORMULA],
        identities=[row["identity"] for row in rows] + [HOSTILE, "-7"],
        cameras=[int(row["camera"]) for row in rows] + [0, 2], modalities=[*map(int, modalities), 0, 0],
        times=[START + 600 * place for place in range(len(rows))] + [np.nan, np.nan],
    )  # fmt: skip
    gallery = open_gallery(str(folder / "gallery"), model=model.fingerprint, dimension=model.dimension)
    gallery.add(entries)
    key = add_key(folder / "keys.json", "night desk", ["search"])
    options = ServiceOptions(images=(world,), state=folder / "state", rate=0)
    service = SearchService(model, gallery, options, Explainer(folder / "run", "best", "cpu"))
    guard = create_app(service, Keys(folder / "keys.json"))
    with on_a_port(guard, options) as url:
        yield Served(
            url, key, service, guard, [record.path for record in records], ids, entries.embeddings, entries.cameras,
            entries.modalities, entries.times, entries.identities,
        )  # fmt: skip


@pytest.fixture
def opened(browser, served):  # noqa: F811
    """The page at a width, with a key or none, after a script of the test's own; afterwards it asked no other
    host and complained of nothing but what `refused` names: statuses, or the browser's own words."""
    pages = []

    def at(width=1280, key=served.key, height=900, script=None):
        context = browser.new_context(
            viewport={"width": width, "height": height}, timezone_id=ZONE, reduced_motion="reduce"
        )
        page = page_of(context)
        if key is not None:
            page.add_init_script(
                f"if (location.protocol === 'http:') sessionStorage.setItem('crossreid.key', {json.dumps(key)})"
            )
        if script is not None:
            page.add_init_script(script)
        pages.append(page)
        page.goto(served.url)
        return page

    yield at
    for page in pages:
        found, title = amiss(page, served.url), page.title()
        page.context.close()
        assert (*found, title) == ([], [], "crossreid search")
