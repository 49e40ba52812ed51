import os
import signal
import threading

import pytest

from crossreid.training.signals import Interrupted, stop_signals


def test_a_signal_is_collected_and_the_next_acts_as_before(capsys):
    before = signal.getsignal(signal.SIGINT)
    with stop_signals() as received:
        os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGINT]
        assert "stopping after this step; repeat to stop at once" in capsys.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_takes_no_signals():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def wait():
        with stop_signals() as received:
            seen.append((received, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert seen == [([], before)]


def test_an_interruption_names_its_signal_and_is_no_error():
    assert "stopped by SIGTERM" in str(Interrupted(signal.SIGTERM))
    assert not isinstance(Interrupted(signal.SIGTERM), Exception)
