"""The thread beside the loop: one job at a time, and everything is told."""

import asyncio
import threading

from counter.storage.worker import Worker


async def test_jobs_are_done_in_order_in_one_thread_and_told_on_the_loop():
    worker, told, done = Worker("w"), [], asyncio.Event()
    here = threading.get_ident()

    def tell(result, error):
        told.append((result, error, threading.get_ident() == here))
        if len(told) == 3:
            done.set()

    for number in range(3):
        worker.run(lambda number=number: (number, threading.current_thread().name), tell)
    async with asyncio.timeout(30):
        await done.wait()
    worker.close()

    assert told == [((number, "w"), None, True) for number in range(3)]


async def test_what_a_job_died_of_is_told_and_the_next_one_is_done():
    worker = Worker("w")
    first, second = (asyncio.get_running_loop().create_future() for _ in range(2))

    worker.run(lambda: 1 / 0, lambda result, error: first.set_result(error))
    worker.run(lambda: 7, lambda result, error: second.set_result(result))

    async with asyncio.timeout(30):
        assert isinstance(await first, ZeroDivisionError)
        assert await second == 7
    worker.close()


async def test_closing_waits_for_what_is_under_way():
    worker, begun, may_end, told = Worker("w"), threading.Event(), threading.Event(), []

    def job():
        begun.set()
        return may_end.wait(30)

    worker.run(job, lambda result, error: told.append(result))
    assert begun.wait(30)
    asyncio.get_running_loop().call_soon(may_end.set)
    await asyncio.sleep(0)
    worker.close()
    await asyncio.sleep(0)

    assert told == [True]
