"""`crossreid gallery`, as a person types it."""

import json
import os
import pty
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

import typed_commands
from crossreid.cli.app import app
from crossreid.evaluation.features import save
from crossreid.galleries import Entries, open_gallery
from embedded import MODEL, features, write_folder

ran = partial(typed_commands.ran, "gallery")


@pytest.fixture
def told(capsys):
    """What the command says where it must fail cleanly."""
    return partial(typed_commands.refused, capsys, "gallery")


def test_a_gallery_from_creation_to_restoring(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    save(features(), tmp_path / "features.npz")
    where, before = tmp_path / "gallery", time.time()
    assert ran("create", where, "--model", MODEL, "--dimension", 24) == f"gallery: {where}"
    assert "120 added, 120 entries" in ran("add", where, tmp_path / "features.npz", "--model", MODEL)
    assert "120 added, 120 entries" in ran("add", where, tmp_path / "features.npz", "--model", MODEL, "--upsert")
    output = ran(
        "search", where, tmp_path / "features.npz", "--model", MODEL, "--k", 3, "--json", tmp_path / "found.json"
    )
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) == 25
    assert found[0]["query"] == "0000.jpg"
    assert found[0]["matches"][0]["id"] == "0140.jpg"  # its copy
    assert found[0]["matches"][0]["score"] == pytest.approx(1, abs=1e-6)
    assert "0140.jpg" in output
    asked = ("--id", "0140.jpg", "--id", "0030.jpg", "--camera", 2, "--modality", "visible")
    ran("search", where, *asked, "--json", tmp_path / "own.json")
    own = json.loads((tmp_path / "own.json").read_text())
    assert [one["query"] for one in own] == ["0140.jpg", "0030.jpg"]
    assert {match["camera"] for one in own for match in one["matches"]} == {2}
    added = [match["added"] for one in own for match in one["matches"]]
    assert before <= min(added) <= max(added) <= time.time()
    assert json.loads(ran("stats", where, "--json"))["cameras"] == {"2": 60, "3": 60}
    assert "entries: 120" in ran("stats", where)
    assert "hnsw" in ran("index", where, "hnsw", "--option", "m=8", "--option", "ef_search=100")
    assert "recall@5 1.0000 over 30 queries" in ran("recall", where, "--k", 5, "--queries", 30)
    ran("snapshot", where, tmp_path / "snapshot")
    assert "60 deleted, 60 entries" in ran("delete", where, "--camera", 2)
    kept = features().names[features().cameras == 3][0]
    assert "1 deleted, 59 entries" in ran("delete", where, "--id", kept, "--id", "unknown")
    assert "compacted" in ran("compact", where)
    ran("restore", tmp_path / "snapshot", tmp_path / "back")
    assert json.loads(ran("stats", tmp_path / "back", "--json"))["entries"] == 120


def test_a_folder_of_embeddings_needs_no_words(tmp_path):
    write_folder(tmp_path / "folder")
    where = tmp_path / "new.db"
    assert "20 added, 20 entries" in ran("add", where, tmp_path / "folder")
    ran("search", where, tmp_path / "folder", "--since", "2023-11-14T22:13:25Z", "--source-prefix", "images/1", "--k", 50,
        "--json", tmp_path / "found.json")  # fmt: skip
    # 1.7e9 is 2023-11-14 22:13:20 UTC; every third image has a time.
    for one in json.loads((tmp_path / "found.json").read_text()):
        assert {match["id"] for match in one["matches"]} == {f"images/{row}.jpg" for row in (12, 15, 18)}
    assert "3 deleted, 17 entries" in ran("delete", where, "--until", "2023-11-14T22:13:27Z")
    ran(
        "search",
        where,
        "--id",
        "images/1.jpg",
        "--added-until",
        "2023-11-14T22:13:27Z",
        "--json",
        tmp_path / "none.json",
    )
    assert json.loads((tmp_path / "none.json").read_text())[0]["matches"] == []
    assert "0 deleted" in ran("delete", where, "--added-until", "2023-11-14T22:13:27Z")
    assert "9 deleted, 8 entries" in ran("delete", where, "--added-until", "9999-01-01", "--modality", "infrared")


NAMES = [
    "cam:car:1.jpg",
    "[/x] [bold]y[/bold] :smile:",
    f"a/{'very-' * 60}long/path.jpg",
    "[red]",
    "two\nlines\x1b[31m",
]


def test_what_is_printed_is_what_there_is(tmp_path):
    """No brackets are taken for markup, no colons for emoji, nothing is cut: what is printed can be typed again."""
    where = tmp_path / "[/x] :car:"
    assert ran("create", where, "--model", MODEL, "--dimension", 5) == f"gallery: {where}"
    with open_gallery(where) as gallery:
        gallery.add(Entries(np.eye(5), ids=NAMES, sources=NAMES, identities=NAMES))
    result = CliRunner().invoke(app, ["gallery", "search", str(where), "--id", NAMES[2], "--k", "5"])
    assert result.exit_code == 0, result.output
    head, *lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert head == ["query", "score", "id", "identity", "camera", "modality", "source", "note"]
    told = [*NAMES[:4], "two\\nlines\\x1b[31m"]
    assert sorted(line[2] for line in lines) == sorted(told)
    assert all(line[0] == NAMES[2] and line[3] == line[6] == line[2] for line in lines)
    assert lines[0][2] == NAMES[2]
    assert [line[7] for line in lines] == ["the query", "", "", "", ""]
    assert f"{where}: 1 deleted, 4 entries" in ran(
        "delete", where, "--id", lines[-1][2].encode().decode("unicode_escape")
    )
    for name in NAMES[:4]:
        ran("search", where, "--id", name)


def test_on_a_narrow_terminal_nothing_is_wrapped_or_cut(tmp_path):
    with open_gallery(tmp_path / "gallery", model=MODEL, dimension=5) as gallery:
        gallery.add(Entries(np.eye(5), ids=NAMES))
    seen, shown = pty.openpty()
    script = (
        "import sys; from crossreid.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    assert 'torch' not in sys.modules"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "gallery", "search", tmp_path / "gallery", "--id", NAMES[0]],
        stdout=shown, stderr=shown, env={**os.environ, "COLUMNS": "80", "TERM": "dumb"},
    )  # fmt: skip
    os.close(shown)
    output = b""
    while True:
        try:
            output += os.read(seen, 65536)
        except OSError:  # the other end is closed
            break
    os.close(seen)
    assert process.wait() == 0, output
    lines = output.decode().replace("\r", "").splitlines()
    assert len(lines) == 1 + len(NAMES), "the query and a line a match"
    assert lines[0] == NAMES[0]
    assert lines[1] == f"  1.0000  identity unknown  camera unknown  visible  {NAMES[0]}  <- the query"
    assert sum(line.endswith(f"  {NAMES[2]}") for line in lines) == 1
    assert "\x1b[31m" not in output.decode()


def test_what_finds_nothing_says_why(tmp_path):
    with open_gallery(tmp_path / "gallery", model=MODEL, dimension=5) as gallery:
        gallery.add(Entries(np.eye(5), ids=list("abcde"), cameras=[0, 3, 3, 7, 7]))
    with open_gallery(tmp_path / "empty", model=MODEL, dimension=6):
        pass
    write_folder(tmp_path / "folder")

    def said(*arguments):
        result = CliRunner().invoke(app, ["gallery", "search", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.stderr.strip()

    asked = (tmp_path / "gallery", "--id", "a")
    assert said(*asked, "--camera", 4, "--camera", 5, "--modality", "visible") == (
        "nothing found for a: no entry meets --camera 4, --camera 5, --modality visible; entries of its cameras: "
        "0 (unknown): 1, 3: 2, 7: 2."
    )
    assert (
        said(*asked, "--id", "b", "--identity", "p1")
        == "nothing found for 2 of 2 queries: no entry meets --identity p1."
    )
    assert said(tmp_path / "empty", tmp_path / "folder") == "nothing found for 20 of 20 queries: the gallery is empty."
    assert said(*asked) == ""


def test_places_that_are_no_gallery_are_left_as_they_are(tmp_path, told):
    docs = tmp_path / "docs.db"
    docs.mkdir()
    (docs / "letter.txt").write_text("mine")
    for arguments, said in (
        (("stats", docs), "docs.db holds no gallery"),
        (("add", docs, tmp_path / "folder"), "already exists and is not Milvus Lite's"),
        (("create", tmp_path / "d1.db", "--model", "m", "--dimension", 1), "2 to 32768 dimensions"),
        (("create", tmp_path / "d2.db", "--model", "m", "--dimension", 8, "--index", "ivf-pq"), "Milvus Lite has no IVF-PQ"),
        (("create", tmp_path / "d3", "--model", "m", "--dimension", 8, "--index", "ivf-pq", "--option", "pq_bytes=7"),
         "pq_bytes=7: expected a divisor of the dimension 8"),
        (("stats", "http://127.0.0.1:1/x.db"), "a Milvus Lite file is named by its path"),
    ):  # fmt: skip
        if "add" in arguments:
            write_folder(tmp_path / "folder")
        assert said in told(*arguments)
    assert [path.name for path in docs.iterdir()] == ["letter.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs.db", "folder"]


def test_faults_are_told_in_one_line(tmp_path, told):
    write_folder(tmp_path / "folder")
    where = tmp_path / "gallery"
    ran("add", where, tmp_path / "folder")
    save(features(dimension=6), tmp_path / "features.npz")
    (tmp_path / "broken.npz").write_bytes(b"no features")
    for arguments, said in (
        (("stats", tmp_path / "none"), "holds no gallery. Create one"),
        (("create", where, "--model", "m", "--dimension", 4), "already is a gallery"),
        (("create", tmp_path / "x", "--model", "m", "--dimension", 4, "--index", "flat"), "expected one of exact, hnsw, ivf-pq"),
        (("create", tmp_path / "x", "--model", "m", "--dimension", 4, "--option", "links=3"), "expected KEY=NUMBER, of m, "),
        (("add", where, tmp_path / "folder"), "the id 'images/0.jpg' and 19 more is already in the gallery"),
        (("add", where, tmp_path / "features.npz"), "does not state its model"),
        (("add", where, tmp_path / "features.npz", "--model", "other"), f"{MODEL}, but was to be opened for model other"),
        (("add", where, tmp_path / "features.npz", "--model", MODEL, "--role", "all of them"), "expected gallery, query or all"),
        (("add", where, tmp_path / "broken.npz", "--model", MODEL), "broken.npz"),
        (("add", where, tmp_path / "nothing"), "nothing"),
        (("add", where, tmp_path / "folder", "--model", "other"), "not of --model other"),
        (("search", where), "expected either QUERIES or --id"),
        (("search", where, "--id", "unknown"), "has no entry 'unknown'"),
        (("search", where, "--id", "images/0.jpg", "--modality", "thermal"), "expected visible or infrared"),
        (("search", where, "--id", "images/0.jpg", "--since", "noon"), "expected ISO 8601"),
        (("search", where, "--id", "images/0.jpg", "--since", "2026"), "is it a year? Write 2026-01-01 for its beginning"),
        (("search", where, "--id", "x" * 513), "513 bytes of UTF-8; at most 512"),
        (("snapshot", where, tmp_path / "bk.db"), "bk.db ends in .db, which is for Milvus Lite"),
        (("delete", where), "expected either --id or a filter"),
        (("delete", where, "--id", "a", "--camera", 3), "expected either --id or a filter"),
        (("index", where, "ivf-pq"), "at least 1000 entries to learn from, found 20"),
        (("snapshot", where, tmp_path / "folder"), "already exists"),
        (("restore", tmp_path / "folder", tmp_path / "x"), "holds no gallery"),
    ):  # fmt: skip
        message = told(*arguments)
        assert said in message, message
        assert "Traceback" not in message
    assert json.loads(ran("stats", where, "--json"))["entries"] == 20
    assert np.isfinite(json.loads(ran("stats", where, "--json"))["bytes"])
