import pytest

from crossreid.training import bf16 as arithmetic


@pytest.fixture
def unlimited(monkeypatch):
    """The environment of a person who has set nothing."""
    monkeypatch.delenv(arithmetic.LIMIT, raising=False)
    arithmetic.bf16_gain.cache_clear()
    yield
    arithmetic.bf16_gain.cache_clear()


@pytest.mark.slow
def test_the_attempt_ends_in_a_ratio_or_in_a_refusal_that_says_what_to_do(unlimited, monkeypatch):
    gain = arithmetic.bf16_gain()
    assert gain is None or 0.01 < gain < 100
    if arithmetic.announces_amx() and gain is None:
        with pytest.raises(ValueError, match="ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment"):
            arithmetic.refuse_broken_bf16()
    else:
        arithmetic.refuse_broken_bf16()
    monkeypatch.setenv(arithmetic.LIMIT, arithmetic.WITHOUT_AMX)
    arithmetic.bf16_gain.cache_clear()
    assert arithmetic.bf16_gain() is not None
    arithmetic.refuse_broken_bf16()


def test_a_process_that_dies_is_no_answer(unlimited, monkeypatch):
    monkeypatch.setattr(arithmetic.sys, "executable", "false")
    monkeypatch.setattr(arithmetic, "announces_amx", lambda: True)
    assert arithmetic.bf16_gain() is None
    with pytest.raises(ValueError, match="ends in an illegal instruction"):
        arithmetic.refuse_broken_bf16()
