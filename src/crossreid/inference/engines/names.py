"""The engines that compute embeddings, by their names in `--engine`."""

from __future__ import annotations

from typing import Literal, get_args

from crossreid.errors import CrossreidError

Engine = Literal["torch", "onnx", "openvino", "torch-export"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
# The valid requests: an engine, or the one measured to be the fastest.
FASTEST: Literal["fastest"] = "fastest"
Asked = Engine | Literal["fastest"]


def parse_distributed(text: str) -> tuple[bool, Engine | None]:
    """Return whether Ray distributes, and the engine, from `ray`, `ray:ENGINE` or ENGINE. Raises as `parse_engine`."""
    ray, _, engine = text.partition(":")
    if ray != "ray":
        return False, parse_engine(text)
    return True, parse_engine(engine) if engine or text.endswith(":") else None


def parse_asked(text: str) -> Asked:
    """Return the engine with this name, or `fastest`. Raises as `parse_engine`."""
    return FASTEST if text == FASTEST else parse_engine(text)


def parse_engine(text: str) -> Engine:
    """Return the engine with this name.

    Raises:
        CrossreidError: there is no engine with this name.
    """
    for engine in ENGINES:
        if text == engine:
            return engine
    raise CrossreidError(
        f"--engine {text!r}: expected {', '.join(ENGINES[:-1])} or {ENGINES[-1]}, or {FASTEST} to measure which one is."
    )
