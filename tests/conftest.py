"""What every test shares: property tests draw the same examples each run and are not held to a clock."""

import os

from hypothesis import settings

# bf16 without AMX: the same bits on every machine, also where AMX is announced and cannot be used.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
