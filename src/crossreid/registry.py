"""Registries of methods, data sets, backbones, losses and detectors, both built-in ones and those of plugins.

A registry knows the modules of this package that register into it, and imports them on first use. Installed packages
add to it through an entry point of its group (`crossreid.methods`, `crossreid.datasets`, `crossreid.backbones`,
`crossreid.losses`, `crossreid.detectors`, `crossreid.matchers`) that names a module; modules named by `--plugin` or in
CROSSREID_PLUGINS (comma-separated) may add to any.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TypeVar

from crossreid.errors import CrossreidError

PLUGINS = "CROSSREID_PLUGINS"
BY_NAME = "--plugin"
T = TypeVar("T")


class PluginError(CrossreidError):
    """A plugin that cannot be imported, or a name registered twice."""


class Registry(Mapping[str, T]):
    """Map names to registered entries: built-in ones in the order of their modules, then those of plugins.

    Args:
        what: what an entry is called in messages, for example "method".
        group: the entry point group of packages that add to the registry.
        modules: modules of this project that register into it.
        package: name of a package of this project, all of whose modules may register into it.
    """

    def __init__(self, what: str, group: str, modules: tuple[str, ...] = (), *, package: str | None = None) -> None:
        self.what, self.group, self.modules, self.package = what, group, modules, package
        self._entries: dict[str, T] = {}
        self._state = "new"

    def add(self, name: str, entry: T) -> None:
        """Register `entry` under `name`; only the module that registered a name may register it again.

        Raises:
            PluginError: the name is already taken.
        """
        other = self._entries.get(name)
        if other is not None and _home(other) != _home(entry):
            raise PluginError(
                f"{self.what} {name!r} is already registered by {_home(other)}, and {_home(entry)} uses the same name. "
                "Choose another one."
            )
        self._entries[name] = entry

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers an object under `name` and returns it unchanged.

        Raises:
            PluginError: the name is already taken.
        """

        def registered(entry: T) -> T:
            self.add(name, entry)
            return entry

        return registered

    def load(self) -> None:
        """Import everything that registers here; called automatically before the first look-up."""
        if self._state != "new":
            return
        self._state = "loading"  # modules may look names up while they register
        try:
            if self.package is not None:
                self.modules = (*self.modules, *_modules_of(self.package))
                self.package = None
            for module in self.modules:
                importlib.import_module(module)
            for point in entry_points(group=self.group):
                _imported(point.value.partition(":")[0], f"the entry point {point.name} of {self.group}")
            load_plugins()
        except BaseException:
            self._state = "new"
            raise
        # The order of lists and tables must not depend on which of our modules was imported first.
        order = {module: position for position, module in enumerate(self.modules)}
        ours_first = sorted(self._entries.items(), key=lambda item: order.get(_home(item[1]), len(order)))
        self._entries = dict(ours_first)
        self._state = "loaded"

    def __getitem__(self, name: str) -> T:
        self.load()
        if name not in self._entries:
            raise KeyError(name)
        return self._entries[name]

    def find(self, name: str) -> T:
        """Return the entry of a name.

        Raises:
            CrossreidError: the name is unknown; the nearest name and all known ones are given.
        """
        if name in self:
            return self[name]
        near = get_close_matches(name, list(self), n=1, cutoff=0.4)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise CrossreidError(
            f"{self.what} {name!r} is unknown.{guess} Known: {', '.join(self)}. A plugin's names are known once the plugin is "
            f"named: --plugin MODULE, or {PLUGINS}."
        )

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(list(self._entries))

    def __len__(self) -> int:
        self.load()
        return len(self._entries)


def load_plugins() -> None:
    """Import the modules that CROSSREID_PLUGINS names.

    Raises:
        PluginError: one cannot be imported.
    """
    for module in os.environ.get(PLUGINS, "").split(","):
        if module.strip():
            _imported(module.strip(), BY_NAME)


def use_plugin(module: str) -> None:
    """Import a plugin now, and in every process that this one starts.

    Raises:
        PluginError: it cannot be imported.
    """
    _imported(module, BY_NAME)
    named = [name for name in os.environ.get(PLUGINS, "").split(",") if name]
    if module not in named:
        os.environ[PLUGINS] = ",".join([*named, module])


def _modules_of(package: str) -> tuple[str, ...]:
    """Return the names of a package's modules, without importing them."""
    path = importlib.import_module(package).__path__
    return tuple(f"{package}.{found.name}" for found in pkgutil.iter_modules(path))


def _imported(module: str, by: str) -> None:
    if by == BY_NAME and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # console scripts do not search there by default
    try:
        importlib.import_module(module)
    except CrossreidError:  # already says what is wrong, for example a name that is taken
        raise
    except Exception as error:
        raise PluginError(
            f"plugin {module!r}, named by {by}, cannot be imported ({type(error).__name__}: {error}). Install it, or run where "
            "its module can be found (PYTHONPATH)."
        ) from error


def _home(entry: object) -> str:
    owner: object = getattr(entry, "owner", entry)
    module: Callable[..., object] | str | None = getattr(owner, "__module__", None)
    return str(module) if module is not None else type(entry).__module__
