"""Split a lock in two: torch and torchvision by version, for an index of your own, and everything else with its hashes.

    python split_lock.py LOCK TORCH REST

CUDA's libraries, which only torch's ordinary Linux wheels need, are in neither. It runs while an image is built, before
crossreid is installed, so it uses the standard library only.
"""

import re
import sys
from pathlib import Path

FROM_OWN_INDEX = ("torch", "torchvision")
CUDA = re.compile(r"(nvidia|cuda)-|triton$")


def split(lock: str) -> tuple[str, str]:
    """The requirements for torch's own index and all others, from a lock that `uv pip compile` wrote."""
    torch, rest = [], []
    for package in re.split(r"(?m)^(?=[a-z0-9])", lock):
        if not (found := re.match(r"([a-z0-9._-]+)==([^\s;\\]+)", package)):
            continue  # the comments before the first package
        name, version = found.groups()
        if name in FROM_OWN_INDEX:
            torch.append(f"{name}=={version}\n")
        elif not CUDA.match(name):
            rest.append(package)
    if len(torch) != len(FROM_OWN_INDEX):
        raise SystemExit(f"expected {' and '.join(FROM_OWN_INDEX)} once each, found {''.join(torch).split()}.")
    return "".join(torch), "".join(rest)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit("expected LOCK TORCH REST: the lock, and the two files to write.")
    for path, text in zip(sys.argv[2:], split(Path(sys.argv[1]).read_text(encoding="utf-8")), strict=True):
        Path(path).write_text(text, encoding="utf-8")
