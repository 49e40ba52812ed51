"""What the pages show is run: every command of a shell block, and the Python of the shortest paths."""

import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from typer.testing import CliRunner

from few_fits import one_stream, quick_drawings, quick_estimates, quick_layouts, quick_maps, quick_probes
from forked import fork_runs, ran_by_torchrun
from served_briefly import serve_briefly
from small_films import walking_people, write_film
from weight_files import write_weights

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
METHOD_PAGES = sorted((ROOT / "docs" / "methods").glob("*.md"))
PATHS = ROOT / "docs" / "shortest_paths.md"
RUN_ELSEWHERE = {  # by these tests
    "deploying": "tests/deploy/test_deploying_docs.py",
    "embedding_at_scale": "tests/inference/storage/test_scale_docs.py",
    "identities": "tests/watching/test_identities_docs.py",
    "mindspore": "tests/mindspore/test_mindspore_page.py",
    "open_set": "tests/runs/test_open_set_page.py",
    "service": "tests/service/test_service_docs.py",
    "transformers": "tests/analysis/test_transformers_docs.py",
    "tutorial": "tests/demo/test_tutorial.py",
    "watching": "tests/watching/test_watching_docs.py",
}
DATA = {"data/SYSU-MM01": "sysu-mm01", "data/RegDB": "regdb", "data/LLCM": "llcm", "data/mine": "manifest"}
# What makes the shown commands small enough for a test: the same commands, a small network and few steps.
SMALL = [
    "data.height=32", "data.width=16", "data.workers=0", "data.sampler.identities=2", "data.sampler.images=4",
    "method.backbone.name=test_resnet", "method.backbone.weights=none", "training.epochs=1", "training.precision=32-true",
    "training.schedule.warmup_epochs=0",
]  # fmt: skip
FEW_STEPS = "data.sampler.epoch=2"
NETWORK, SMALL_NETWORK = "mobilenetv2_100", "test_efficientnet"  # what the pages name, and one of its kind for a test
SMALL_TEACHER = [
    "data.sets.size=2", "teacher.training.epochs=1", "teacher.data.sampler.identities=2", "teacher.data.sampler.images=2",
]  # fmt: skip


def title(page: Path) -> str:
    return f"methods-{page.stem}" if page in METHOD_PAGES else page.stem


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def lines(page: Path) -> list[list[str]]:
    """The commands of each block, without comments."""
    every = [[line.split("  #")[0].strip() for line in block.splitlines()] for block in blocks(page, "bash")]
    return [[line for line in block if line and not line.startswith("#")] for block in every]


def commands(page: Path) -> list[list[str]]:
    """What a page shows, without blocks all of whose lines another page has, which runs them: of README, paths and methods."""
    others = [other for other in PAGES[1:] if other != PATHS]
    elsewhere = {PAGES[0]: PAGES[1:], PATHS: others, **dict.fromkeys(METHOD_PAGES, PAGES)}.get(page, [])
    others = {line for other in elsewhere for block in lines(other) for line in block}
    return [shlex.split(line) for block in lines(page) if not set(block) <= others for line in block]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the data sets and nothing else, as a user would have it."""
    from crossreid.data.synthetic import synthesise

    place = tmp_path_factory.mktemp("user")
    (place / "data").mkdir()
    for folder, layout in DATA.items():
        synthesise(place / folder, layout, 10, 0, images_per_camera=2, size=(64, 32), workers=1)
    manifest = place / "data" / "mine" / "manifest.csv"  # whose owner has visible photographs, and no split
    rows = [row.split(",") for row in manifest.read_text().splitlines()]
    manifest.write_text("".join(f"{row[0]},{row[1]},{row[2]}\n" for row in rows if row[3] != "infrared"))
    shutil.copytree(place / "data" / "mine" / "images", place / "data" / "crops")
    for number, crop in enumerate(sorted((place / "data" / "crops").rglob("*.jpg"))):
        if number % 4:  # the pages embed them again and again
            crop.unlink()
    shutil.copytree(place / "data" / "mine" / "images", place / "data" / "animals")
    for infrared in place.glob("data/animals/*/c[36]_*.jpg"):  # visible photographs, a folder an identity
        infrared.unlink()
    pictures = sorted((place / "data" / "crops").rglob("*.jpg"))
    shutil.copy(pictures[0], place / "photo.jpg")
    (place / "data" / "tracklet").mkdir()
    for picture in pictures[:3]:
        shutil.copy(picture, place / "data" / "tracklet")
    rng = np.random.default_rng(0)
    for name, count in (("queries", 12), ("gallery", 30)):
        np.savez(
            place / f"{name}.npz",
            embeddings=rng.normal(size=(count, 8)), identities=np.arange(count) % 5, cameras=np.arange(count) % 4 + 1,
        )  # fmt: skip
    write_features(place / "features.npz")
    for seed, name in enumerate(("gate", "yard")):  # of which two seconds are still: `background` learns
        write_film(place / f"{name}.mp4", walking_people(35, (96, 160), seed=seed, still=20)[0])
    (place / "weights").mkdir()
    write_weights(place / "weights" / f"{SMALL_NETWORK}.safetensors", SMALL_NETWORK)  # docs/networks.md
    return place


@pytest.fixture(scope="module")
def done():
    """The commands that pages before have run in this workplace and that leave the same whenever they are run."""
    return set()


def write_features(path):
    """As a run leaves them: 8 queries, and a gallery that docs/search.md searches."""
    from crossreid.evaluation.features import Features, save

    rng, rows = np.random.default_rng(0), np.arange(60)
    save(
        Features(
            embeddings=rng.normal(size=(60, 8)), identities=np.array([f"p{row % 7}" for row in rows]), cameras=rows % 4 + 1,
            modalities=rows % 2, positions=rows, names=np.array([f"images/{row:04}.jpg" for row in rows]),
            roles=np.where(rows < 8, "query", "gallery"),
        ),
        path,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in [*PAGES, *METHOD_PAGES] if page.stem not in RUN_ELSEWHERE or page in METHOD_PAGES],
    ids=title,
)
def test_commands_run(page, workplace, done, tmp_path, monkeypatch):
    from crossreid.cli.app import app

    monkeypatch.chdir(workplace)
    quick_probes(monkeypatch)
    one_stream(monkeypatch)
    quick_maps(monkeypatch)
    quick_estimates(monkeypatch)
    quick_drawings(monkeypatch)
    fork_runs(monkeypatch)
    for shown in commands(page):
        command = [word.replace(NETWORK, SMALL_NETWORK) for word in shown]
        if command[0] in ("make", "source"):
            continue  # `make` is what runs this test
        if command[0] == "torchrun":
            trained = "train" in command
            small = [*sets(), "--set", "data.sampler.identities=4", "--out", "two"] if trained else []
            told = "".join(ran_by_torchrun([*command[1:], *small], tmp_path))
            assert told.count("two finished: " if trained else "embedded ") == 1
            continue
        if command[0] == "python":
            monkeypatch.setattr(sys, "argv", only_what_was_run(command[1:]))
            runpy.run_path(str(ROOT / command[1]), run_name="__main__")
            continue
        assert command[0] == "crossreid", f"{page.name}: {command}"
        arguments = command[1:]
        if arguments[0] == "demo":
            continue  # run by tests/demo/test_demonstration.py
        if arguments[0] == "serve":
            serve_briefly(arguments)
            continue
        if arguments[0] == "train":
            arguments += sets(arguments[1]) + one_branch(arguments[1])
        if arguments[0] in SHRUNK:
            arguments = shrunk(arguments)
        if arguments[0] in ("synth", "export", "evaluate"):
            if tuple(arguments) in done:
                continue
            done.add(tuple(arguments))
        if arguments[0] == "synth":
            shutil.rmtree(arguments[1], ignore_errors=True)  # another page may have rendered it with other options
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{page.name}: {' '.join(command)}\n{result.output}\n{result.exception!r}"
        assert page != PATHS or "nothing found" not in result.output, " ".join(command)
    for code in blocks(page, "python"):
        if any(
            name in code
            for name in (
                "read_embeddings",
                "PretrainedNetwork",
                "import Modality, fuse",
                "crossreid.cluster(",
                "crossreid.export(",
            )
        ):
            exec(code.replace(NETWORK, SMALL_NETWORK), {})  # reads what the commands before it wrote


# Options in place of the shown ones, and what is added: a page's world, study and probes in a minute.
SHRUNK = {
    "synth": ({"--identities": "12", "--images": "2", "--size": "32x16"}, []),
    "synth city": (
        {},
        ["--identities", "4", "--minutes", "0.1", "--frame-rate", "5", "--others", "4", "--images", "1"],
    ),
    "ablate vd": ({"--seeds": "0"}, ["--only", "all-vd", "--only", "all-ib"]),
    "ablate vkd": ({"--seeds": "0"}, ["--only", "student"]),
    "ablate cross-distillation": ({"--seeds": "0", "--networks": "test_resnet"}, ["--only", "teacher-test_resnet"]),
    "ablate weight": ({"--seeds": "0"}, ["--only", "vd-0.5"]),
    "ablate z-size": ({"--seeds": "0"}, ["--sizes", "8"]),
    "ablate recipes": ({"--seeds": "0"}, ["--only", "idkl_synthetic"]),
    "ablate idkl": ({"--seeds": "0"}, ["--only", "base"]),
    "ablate lambda": ({"--seeds": "0"}, ["--only", "class-0.4"]),
    "ablate left-out": ({"--seeds": "0"}, ["--only", "campus-left-out"]),
    "ablate estimators": ({"--seeds": "0", "--steps": "2"}, []),
    "ablate": ({}, []),
    "probe": ({}, []),
    "export": ({"--size": "96x96"}, []),
}


def shrunk(arguments):
    """The command on less: fewer people, seeds and cells, and runs of those cells only."""
    name = " ".join(arguments[:2]) if arguments[0] == "ablate" else arguments[0]
    name = "synth city" if name == "synth" and "city" in arguments else name
    options, added = SHRUNK[name]
    small = list(arguments)
    if arguments[0] == "synth" and {"data/probes", "data/films"} & set(arguments):
        options = {**options, "--identities": "20"}
    for option, value in options.items():
        if option in small:
            small[small.index(option) + 1] = value
        elif option in ("--size", "--images", "--seeds") and name != "export":  # a run has a size
            small += [option, value]
    if name.startswith("ablate ") and name != "ablate estimators" and not arguments[2].startswith("-"):  # a recipe
        small += sets(arguments[2])
    if "--only" in arguments:
        added = ["--only", small[small.index("--only") + 1]]  # the first cell of those that are named
        while "--only" in small:
            at = small.index("--only")
            del small[at : at + 2]
    return only_what_was_run(small) + added


def only_what_was_run(arguments):
    """Without the runs that a page goes on with and that were not made here."""
    before = ["", *arguments]
    return [
        part
        for part, option in zip(arguments, before, strict=False)
        if not part.startswith("studies/") or option == "--out" or Path(part).is_dir()
    ]


def sets(recipe=""):
    """What makes a recipe small, as arguments."""
    more = SMALL_TEACHER if "vkd" in recipe else []
    more = more if "idkl" in recipe else [*more, FEW_STEPS]  # its epochs are of pairs
    if "transreid" in recipe:
        more = ["method.backbone.name=test_vit", "method.parts=2"]
    more = [*more, "data.options.validation=1"] if "vkd_synthetic" in recipe else more
    return [part for override in [*SMALL, *more] for part in ("--set", override)]


def one_branch(recipe):
    """Of variational distillation's three, which are exported, embedded with and trained all over the pages; studies have them all."""
    return ["--set", "method.branches=shared"] if re.match(r"(recipes/)?vd_(?!two-stream)", recipe) else []


@pytest.mark.slow
def test_python_of_the_shortest_paths_runs(tmp_path, monkeypatch, capsys):
    (code,) = blocks(PATHS, "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    fewer = code.replace("identities=160", "identities=10").replace(
        "size=(128, 64)", "size=(64, 32), images_per_camera=2"
    )
    small = fewer.replace("crossreid.demo_recipe(world, run.name)", "small(crossreid.demo_recipe(world, run.name))")
    assert small.count("small(") == 1
    assert "identities=10" in small
    assert "images_per_camera=2" in small
    prelude = (
        "from crossreid.runs.recipe import make_recipe\n"
        f"def small(recipe): return make_recipe(recipe.model_dump(mode='json'), {SMALL!r})\n"
    )
    monkeypatch.chdir(tmp_path)
    quick_maps(monkeypatch)
    quick_layouts(monkeypatch)
    exec(compile(prelude + small, PATHS.name, "exec"), {})
    assert "rank-1" in capsys.readouterr().out
    (page,) = tmp_path.glob("report-*.html")
    assert page.stat().st_size > 50_000


def test_the_network_of_the_pages_is_one_of_timm():
    """Its commands are run with a smaller one."""
    assert any(NETWORK in line for page in PAGES for block in lines(page) for line in block)
    kind, small = (timm.create_model(name, num_classes=0) for name in (NETWORK, SMALL_NETWORK))
    assert type(kind) is type(small)


def test_python_of_two_streams_runs():
    (code,) = blocks(ROOT / "docs" / "implicit_knowledge.md", "python")
    images = torch.randn(6, 3, 16, 8, generator=torch.Generator().manual_seed(0))
    space = {"images": images, "modalities": torch.tensor([0, 1] * 3), "np": np}
    exec(code, space)
    assert space["images"].shape == images.shape
    assert not torch.equal(space["images"], images)


def test_the_differences_between_protocols_are_as_shown():
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    shown = runpy.run_path(str(ROOT / "benchmarks" / "protocol_differences.py"))["table"]().splitlines()
    assert "\n".join(shown[2:]) in page, "put into docs/evaluation.md what benchmarks/protocol_differences.py prints"


@pytest.mark.parametrize(
    ("study", "name"),
    [
        ("vd", "variational_distillation"),
        ("vkd", "view_distillation"),
        ("cross-distillation", "view_distillation"),
        ("recipes", "implicit_knowledge"),
        ("idkl", "implicit_knowledge"),
        ("lambda", "implicit_knowledge"),
    ],
)
def test_tables_of_studies_are_those_that_were_measured(study, name):
    from crossreid.reporting.study_table import markdown_table

    measured = json.loads((ROOT / "benchmarks" / "results" / f"study_{study}.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert markdown_table(measured).strip() in page


def test_every_protocol_is_described():
    from crossreid.evaluation.protocols import PROTOCOLS

    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert set(rows) == set(PROTOCOLS)
    for name, protocol in PROTOCOLS.items():
        assert ("trapezoids" in rows[name]) == protocol.trapezoid, name
        assert ("identity -1" in rows[name]) == bool(protocol.junk) or name == "atrw-plain", name
        assert ("first image" in rows[name]) == protocol.counting.startswith("first"), name


@pytest.mark.parametrize("page", [*PAGES, *METHOD_PAGES], ids=title)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("what", ["worlds", "real"])
def test_tables_of_data_sets_left_out_are_those_that_were_measured(what):
    from crossreid.reporting.study_table import markdown_table

    measured = json.loads(
        (ROOT / "benchmarks" / "results" / f"several_sets_{what}_cpu.json").read_text(encoding="utf-8")
    )
    page = (ROOT / "docs" / "several_data_sets.md").read_text(encoding="utf-8")
    assert markdown_table(measured["table"]).strip() in page
