"""Keys take turns: a long queue of one holds up nobody else."""

import asyncio

from crossreid.service.turns import Turns


def order_of(places, asked, steps=1):
    """Names in the order in which they are let in, all having asked at once."""
    seen, most = [], 0

    async def main():
        turns, inside = Turns(places), 0

        async def one(name):
            nonlocal inside, most
            async with turns.turn(name):
                inside += 1
                most = max(most, inside)
                seen.append(name)
                for _ in range(steps):
                    await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*map(one, asked))
        assert turns._free == places

    asyncio.run(main())
    assert most == min(places, len(asked))
    return "".join(seen)


def test_names_take_turns_and_keep_their_order():
    assert order_of(1, "aaaaab") == "aabaaa", "after the one that was in, and one more"
    assert order_of(2, "aaaaaabcb") == "aaabcabaa"
    assert order_of(3, "ab") == "ab"


def test_who_goes_while_waiting_leaves_the_place_to_others():
    async def main():
        turns, let_in = Turns(1), []

        async def one(name, leave):
            async with turns.turn(name):
                let_in.append(name)
                await leave.wait()

        first, second = asyncio.Event(), asyncio.Event()
        tasks = [asyncio.create_task(one(name, leave)) for name, leave in
                 (("a", first), ("b", second), ("c", second), ("d", second))]  # fmt: skip
        await asyncio.sleep(0)
        tasks[1].cancel()  # it waits
        await asyncio.sleep(0)
        first.set()
        await asyncio.sleep(0)  # "a" wakes and lets "c" in,
        tasks[2].cancel()  # which is gone before it begins
        second.set()
        await asyncio.wait(tasks, timeout=5)
        assert let_in[0] == "a"
        assert let_in[-1] == "d"
        assert turns._free == 1

    asyncio.run(main())
