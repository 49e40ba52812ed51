"""The engines that compute embeddings, by name: those of `--engine`."""

from __future__ import annotations

from typing import Literal, get_args

from crossreid.errors import CrossreidError

Engine = Literal["torch", "onnx", "openvino", "torch-export"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
# What may be asked for: an engine, or the one that is measured to be the fastest.
FASTEST: Literal["fastest"] = "fastest"
Asked = Engine | Literal["fastest"]


def parse_distributed(text: str) -> tuple[bool, Engine | None]:
    """Whether Ray distributes, and the engine: of `ray`, `ray:ENGINE` or ENGINE. Raises as `parse_engine`."""
    ray, _, engine = text.partition(":")
    if ray != "ray":
        return False, parse_engine(text)
    return True, parse_engine(engine) if engine or text.endswith(":") else None


def parse_asked(text: str) -> Asked:
    """The engine of a name, or `fastest`. Raises as `parse_engine`."""
    return FASTEST if text == FASTEST else parse_engine(text)


def parse_engine(text: str) -> Engine:
    """The engine of a name.

    Raises:
        CrossreidError: there is none of that name.
    """
    for engine in ENGINES:
        if text == engine:
            return engine
    raise CrossreidError(
        f"--engine {text!r}: expected {', '.join(ENGINES[:-1])} or {ENGINES[-1]}, or {FASTEST} to measure which one is."
    )
