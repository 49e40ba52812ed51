"""Only the processors that this process may use are counted, and no more loader processes are started than there are."""

import os

import pytest

from crossreid.data.data_options import DataOptions
from crossreid.processors import processors


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to processors here")
def test_a_process_that_is_bound_to_one_processor_has_one_loader():
    options = DataOptions(name="sysu-mm01", root="data", workers=4)
    allowed = os.sched_getaffinity(0)
    assert processors() == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert (processors(), options.loaders) == (1, 1)
        assert options.model_copy(update={"workers": 0}).loaders == 0
    finally:
        os.sched_setaffinity(0, allowed)
    assert options.workers == 4
