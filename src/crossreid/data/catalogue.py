"""The catalogue of data sets: each is registered beside its reader, and found here by name.

To add a data set, write a function that reads a copy of it into a `Split`, and decorate it:

    @register_dataset("zoo", title="The zoo", protocol="cross-camera")
    def read(root: Path, *, validation: int = 0) -> Split: ...

`crossreid check zoo ROOT`, `data.name: zoo` in a recipe and everything after that work once its module is an entry
point of the group `crossreid.datasets`, or is named by `--plugin` or CROSSREID_PLUGINS.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from crossreid.data.records import DataError, Split
from crossreid.errors import CrossreidError
from crossreid.registry import PluginError, Registry

Reader = TypeVar("Reader", bound=Callable[..., Split])


class Citation(NamedTuple):
    """The publication that introduces a data set; `title` is empty if not given."""

    authors: str
    title: str
    venue: str
    year: int

    def __str__(self) -> str:
        title = f' "{self.title}",' if self.title else ""
        return f"{self.authors},{title} {self.venue} {self.year}"


@dataclass(frozen=True, slots=True)
class DataSet:
    """The description of a data set.

    Attributes:
        parse: reads a copy: `parse(root, **options)`.
        title: its printed name.
        protocol: the name of its evaluation protocol (`crossreid.evaluation.protocols.PROTOCOLS`); an option of the
            reader may choose another.
        official: counts of a complete copy, with the names used by `checking.counted`; also those of other values of an
            option `train_on`, with the value in place of `train`.
        licence: the terms of use, and where to get the data.
        citation: the publication to cite.
        page: where the layout is described: a page and heading, or an address.
        variants: options of the reader; `check` reads the copy once with each of them.
        list_problems: returns problems with the lists of a copy beyond what its reader needs, one line each, given a
            root and whether the copy is compared with the official set.
        layout: files and folders below the root that every copy has and no other data set does, by which a folder is
            recognised.
    """

    parse: Callable[..., Split]
    title: str
    protocol: str
    official: Mapping[str, int] = field(default_factory=dict)
    licence: str = ""
    citation: Citation | None = None
    page: str = ""
    variants: tuple[Mapping[str, object], ...] = ({},)
    list_problems: Callable[[Path, bool], list[str]] | None = None
    layout: tuple[str, ...] = ()

    @property
    def owner(self) -> Callable[..., Split]:
        """Return the function whose module the registry names if two use the same name."""
        return self.parse


DATASETS: Registry[DataSet] = Registry(
    "data set",
    "crossreid.datasets",
    tuple(
        f"crossreid.data.readers.{reader}"
        for reader in (
            "sysu_mm01",
            "regdb",
            "llcm",
            "market_1501",
            "msmt17",
            "mars",
            "duke_video",
            "veri_776",
            "atrw",
            "manifest",
        )
    ),
)
"""Every data set that can be read, by its name in recipes."""


def register_dataset(
    name: str,
    *,
    title: str,
    protocol: str,
    official: Mapping[str, int] | None = None,
    licence: str = "",
    citation: Citation | None = None,
    page: str = "",
    variants: tuple[Mapping[str, object], ...] = ({},),
    list_problems: Callable[[Path, bool], list[str]] | None = None,
    layout: tuple[str, ...] = (),
) -> Callable[[Reader], Reader]:
    """Register the decorated reader as the data set `name`; other arguments as in `DataSet`.

    The reader takes the root of a copy and keyword options, returns a `Split`, and raises `DataError` for errors in it.

    Raises:
        PluginError: another module has already registered that name.
    """

    def register(parse: Reader) -> Reader:
        known = DataSet(
            parse, title, protocol, official or {}, licence, citation, page, variants, list_problems, layout
        )
        DATASETS.add(name, known)
        return parse

    return register


def load(name: str, root: Path, **options: Any) -> Split:
    """Read the data set `name` at `root`, with its reader's options.

    Raises:
        DataError: an unknown name or option, a missing root, or an error found by the reader.
    """
    parse = describe(name).parse
    _, *known = inspect.signature(parse).parameters
    for option in options:
        if option not in known:
            near = get_close_matches(option, known, n=1, cutoff=0.4)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{name}: option {option!r} is unknown.{guess} Known: {', '.join(known)}.")
    return parse(existing(name, root), **options)


def describe(name: str) -> DataSet:
    """Return the description of the data set `name`. Raises `DataError` with the nearest name."""
    try:
        return DATASETS.find(name)
    except PluginError:
        raise
    except CrossreidError as error:
        raise DataError(str(error)) from None


def recognised(folder: Path) -> str | None:
    """Return the data set whose layout a folder has, or None."""
    for name in DATASETS:
        if (layout := DATASETS[name].layout) and all((folder / part).exists() for part in layout):
            return name
    return None


def existing(name: str, root: Path) -> Path:
    """Return the root of a copy of the data set `name`. Raises `DataError` if it does not exist."""
    root = Path(root)
    if not root.exists():
        page = describe(name).page
        raise DataError(f"{name}: root {root} not found. Give the folder of your copy{f' ({page})' if page else ''}.")
    return root
