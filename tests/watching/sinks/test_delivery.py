import time

from crossreid.watching.sinks.delivery import Delivery, deliver
from crossreid.watching.sinks.sink import SinkFault
from kept_events import KeptEvents
from served import within


class Receiver:
    """Takes events but where `fails` says not; keeps when it was tried."""

    name = "receiver"

    def __init__(self, fails=()):
        self.fails, self.got, self.tried, self.closed = list(fails), [], [], False

    def send(self, events):
        self.tried.append(time.monotonic())
        fault = self.fails.pop(0) if self.fails else None
        if isinstance(fault, Exception):
            raise fault
        if fault is not None:
            time.sleep(fault)
        self.got += [event.number for event in events]

    def close(self):
        self.closed = True


def started(receiver, outbox, **options):
    delivery = Delivery(receiver, outbox, **{"poll": 0.01, "pauses": (0.01, 0.05), **options})
    delivery.start()
    return delivery


def ended(delivery, seconds=5.0):
    delivery.end()
    return delivery.ended(seconds)


def test_faults_are_waited_out_longer_each_time_and_no_event_is_lost(caplog):
    outbox, told = KeptEvents(10), []
    receiver = Receiver([SinkFault("down."), SinkFault("down."), ValueError("a bug"), SinkFault("down.")])
    delivery = started(receiver, outbox, limit=4, pauses=(0.02, 10.0), observe=told.append)
    assert within(lambda: len(receiver.got) == 10)
    assert ended(delivery)
    assert receiver.got == list(range(1, 11))
    assert told[:4] == [True] * 4
    assert told[4] is False
    waits = [after - before for before, after in zip(receiver.tried[:4], receiver.tried[1:5], strict=True)]
    assert all(wait >= 0.02 * 2**place for place, wait in enumerate(waits)), waits
    assert caplog.text.count("Events are kept for it") == 1
    assert caplog.text.count("accepts events again, after 4 failures") == 1
    assert receiver.closed


def test_a_sink_says_when_to_come_again_but_not_that_nobody_ever_comes():
    receiver = Receiver([SinkFault("later.", wait=0.3), SinkFault("in a year.", wait=3e7)])
    delivery = started(receiver, KeptEvents(1), pauses=(0.01, 0.4))
    assert within(lambda: receiver.got == [1])
    assert ended(delivery)
    first, second, third = receiver.tried
    assert second - first >= 0.3
    assert 0.4 <= third - second < 2


def test_who_watches_does_not_wait_for_a_slow_sink_and_announces_what_is_new():
    outbox, receiver = KeptEvents(1), Receiver([0.5])
    delivery = started(receiver, outbox, poll=60)
    began = time.monotonic()
    for _ in range(100):
        outbox.add()
        delivery.wake()
    assert time.monotonic() - began < 0.3
    assert within(lambda: len(receiver.got) == 101, 5)  # though it looks by itself once a minute
    assert ended(delivery)


def test_what_a_sink_did_not_take_is_there_for_the_next_watch():
    outbox = KeptEvents(5)
    delivery = started(Receiver([SinkFault("down.")] * 1000), outbox, pauses=(60, 60))
    assert within(lambda: delivery.faults == 1)
    began = time.monotonic()
    assert not ended(delivery)
    assert time.monotonic() - began < 2  # not the pause
    slow = started(Receiver([3.0]), outbox)
    assert not ended(slow, 0.05)
    receiver = Receiver()
    assert ended(started(receiver, outbox))
    assert receiver.got == [1, 2, 3, 4, 5]
    assert outbox.cursors == {"receiver": 5}


def test_a_state_that_cannot_be_read_now_is_read_later():
    outbox, receiver, tries = KeptEvents(2), Receiver(), []

    class Locked(KeptEvents):
        def undelivered(self, sink, limit=1000):
            tries.append(1)
            if len(tries) < 3:
                raise OSError("locked")
            return outbox.undelivered(sink, limit)

        def delivered(self, sink, number):
            outbox.delivered(sink, number)

    delivery = started(receiver, Locked())
    assert within(lambda: receiver.got == [1, 2])
    assert ended(delivery)


def test_a_sink_that_was_killed_before_the_state_heard_gets_the_same_events_again():
    outbox, receiver = KeptEvents(3), Receiver()
    assert deliver(receiver, outbox) == 3
    outbox.cursors["receiver"] = 1
    assert deliver(receiver, outbox) == 2
    assert receiver.got == [1, 2, 3, 2, 3]
