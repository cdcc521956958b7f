"""One timer for all at rest: each is woken when it is due, and not before, nor for another one."""

import asyncio
from math import inf
from time import monotonic

from tracker.rest import Rest


class Sleeper:
    """Notes when it was woken."""

    def __init__(self, after_s):
        self.due = monotonic() + after_s
        self.woken_at = None
        self.woken = asyncio.Event()

    def wake(self):
        self.woken_at = monotonic()
        self.woken.set()


async def woken(*sleepers):
    async with asyncio.timeout(30):
        for sleeper in sleepers:
            await sleeper.woken.wait()


async def test_each_is_woken_once_it_is_due_the_first_first():
    rest, late, soon = Rest(), Sleeper(0.06), Sleeper(0.02)
    for sleeper in (late, soon):
        rest.take(sleeper)

    looks_at = rest._looks_at

    await woken(soon, late)

    # A machine that is busy may be late for both: then it is one look that wakes them.
    assert looks_at == soon.due
    assert soon.woken_at >= soon.due
    assert late.woken_at >= late.due


async def test_whoever_puts_it_off_is_left_alone_until_then():
    rest, other, patient = Rest(), Sleeper(0.02), Sleeper(0.02)
    for sleeper in (patient, other):
        rest.take(sleeper)
    patient.due += 0.04

    await woken(other, patient)

    assert patient.woken_at >= patient.due


async def test_whoever_is_let_go_is_not_woken():
    rest, gone, other = Rest(), Sleeper(0.01), Sleeper(0.02)
    for sleeper in (gone, other):
        rest.take(sleeper)
    rest.let_go(gone)
    rest.let_go(gone)

    await woken(other)

    assert gone.woken_at is None


async def test_a_mistake_in_one_is_nothing_to_the_others():
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    rest, wrong, other, later = Rest(), Sleeper(0.01), Sleeper(0.01), Sleeper(0.03)
    wrong.wake = lambda: 1 / 0
    for sleeper in (wrong, other, later):
        rest.take(sleeper)

    await woken(other, later)

    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]


async def test_nobody_at_rest_is_nothing_to_look_at():
    rest, one = Rest(), Sleeper(0.01)
    rest.take(one)
    await woken(one)

    assert rest._looks_at == inf
