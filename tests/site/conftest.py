"""What reads the built site runs by `make docs`, in the environment that built it; elsewhere nothing is collected."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))

collect_ignore_glob = [] if importlib.util.find_spec("mkdocstrings_handlers") else ["test_*.py"]
