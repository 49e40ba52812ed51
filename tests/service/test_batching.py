import asyncio
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from crossreid.service.batching import Batcher


def run(process, ask, **options):
    """What `ask(batcher)` gives, in a loop of its own."""

    async def main():
        batcher = Batcher(process, **{"most": 4, "wait": 0.0, **options})
        batcher.start()
        try:
            return await ask(batcher)
        finally:
            await batcher.stop()

    return asyncio.run(main())


@given(st.lists(st.integers(1, 6), min_size=1, max_size=30), st.integers(1, 8))
def test_everyone_gets_their_own_and_batches_hold_no_more_than_they_may(sizes, most):
    batches = []

    def process(items):
        batches.append(items)
        return [("done", number) for number, _ in items]

    async def ask(batcher):
        return await asyncio.gather(*(batcher.submit(item) for item in enumerate(sizes)))

    found = run(process, ask, most=most, size=lambda item: item[1])
    assert found == [("done", number) for number in range(len(sizes))]
    assert [item for items in batches for item in items] == list(enumerate(sizes))
    for items in batches:
        assert len(items) == 1 or sum(size for _, size in items) <= most


def test_what_comes_while_it_is_busy_is_one_batch():
    begun, go_on, batches = threading.Event(), threading.Event(), []

    def process(items):
        batches.append(list(items))
        begun.set()
        assert go_on.wait(10)
        return items

    async def ask(batcher):
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.to_thread(begun.wait, 10)
        others = [asyncio.create_task(batcher.submit(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        go_on.set()
        return [await first, *[await other for other in others]]

    assert run(process, ask) == [0, 1, 2, 3]
    assert batches == [[0], [1, 2, 3]]


def test_an_idle_worker_waits_for_company():
    batches = []

    def process(items):
        batches.append(list(items))
        return items

    async def ask(batcher):
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.02)
        await batcher.submit(2)
        await first

    run(process, ask, wait=0.3)
    assert batches == [[1, 2]]


def test_an_error_is_theirs_who_were_in_the_batch_and_the_next_are_served():
    def process(items):
        if 13 in items:
            raise ValueError("thirteen")
        return items

    async def ask(batcher):
        found = await asyncio.gather(batcher.submit(13), batcher.submit(1), return_exceptions=True)
        return found, await batcher.submit(2)

    (wrong, beside), after = run(process, ask)
    assert isinstance(wrong, ValueError)
    assert isinstance(beside, ValueError)
    assert after == 2


def test_who_has_gone_is_not_computed_for():
    seen, begun, go_on = [], threading.Event(), threading.Event()

    def process(items):
        seen.extend(items)
        begun.set()
        assert go_on.wait(10)
        return items

    async def ask(batcher):
        first = asyncio.create_task(batcher.submit("first"))
        await asyncio.to_thread(begun.wait, 10)
        gone, stays = asyncio.create_task(batcher.submit("gone")), asyncio.create_task(batcher.submit("stays"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await first
        await stays

    run(process, ask)
    assert seen == ["first", "stays"]


def test_stopping_ends_what_waits():
    async def main():
        batcher = Batcher(lambda items: time.sleep(0.05) or items, most=1, wait=0.0)
        batcher.start()
        asked = [asyncio.create_task(batcher.submit(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        await batcher.stop()
        return await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(found, asyncio.CancelledError) for found in asyncio.run(main()))
