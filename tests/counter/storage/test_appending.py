"""The native thread that appends: its word is that of the Python, and so is what follows."""

import asyncio
import errno
import gc
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from counter.storage import appending
from counter.storage.base import COUNTS
from counter.storage.durable import DurableStorage
from tracker.files import Disk
from tracker.machine import Persist, Persisted, PersistFailed
from tracker.native import extension

NATIVE: Any = extension("counter.native.appending")

pytestmark = pytest.mark.skipif(NATIVE is None, reason="NO NATIVE MODULES: not built here")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs files of Linux")

Opened = Any
Open = Any


class PythonDisk(Disk):
    """The plain disk, but by calls of Python: for the worker."""

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)


@pytest.fixture(params=["native", "worker"])
def disk(request: pytest.FixtureRequest) -> Disk:
    """Return the disk that brings in the native thread, and the one that does not."""
    return Disk() if request.param == "native" else PythonDisk()


@contextmanager
def file_bytes_max(size: int) -> Iterator[None]:
    """Have no file of this process grow longer: a real write of a part, then a real error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def write_all(opened: Opened, *records: bytes) -> None:
    for record in records:
        opened.store.write(Persist(opened.store.token + 1, COUNTS, record))


def taken(thread: Any) -> tuple[int, int]:
    """Wait for the word of a thread, and return it."""

    async def wait() -> None:
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(thread.fileno(), heard.set)
        async with asyncio.timeout(30):
            await heard.wait()
        loop.remove_reader(thread.fileno())

    asyncio.run(wait())
    word: tuple[int, int] = thread.take()
    return word


# -- the thread -----------------------------------------------------------------------------


def test_a_frame_is_written_where_it_belongs(tmp_path: Path) -> None:
    path, thread = tmp_path / "log", NATIVE.Thread()
    path.write_bytes(b"head....")
    with path.open("r+b") as file:
        thread.append(file.fileno(), b"frame" * 100_000, 4)
        assert taken(thread) == (0, 0)
        thread.append(file.fileno(), b"", 4)
        assert taken(thread) == (0, 0)
    thread.close()

    assert path.read_bytes() == b"head" + b"frame" * 100_000


def test_there_is_one_frame_at_a_time_and_one_word_of_each(tmp_path: Path) -> None:
    thread = NATIVE.Thread()
    with (tmp_path / "log").open("wb") as file:
        assert thread.take() is None
        thread.append(file.fileno(), b"a", 0)
        with pytest.raises(RuntimeError, match="has a frame already"):
            thread.append(file.fileno(), b"b", 1)
        assert taken(thread) == (0, 0)
        assert thread.take() is None
    thread.close()
    with pytest.raises(RuntimeError, match="is no more"):
        thread.append(1, b"c", 0)


@on_linux
def test_the_word_of_a_failure_is_the_error_of_the_system(tmp_path: Path) -> None:
    thread, read_only = NATIVE.Thread(), tmp_path / "log"
    read_only.touch()
    for path, word in [
        ("/dev/full", (errno.ENOSPC, 0)),
        ("/dev/null", (0, errno.EINVAL)),
        (str(read_only), (errno.EBADF, 0)),
    ]:
        descriptor = os.open(path, os.O_RDONLY if path == str(read_only) else os.O_RDWR)
        thread.append(descriptor, b"frame", 0)
        assert taken(thread) == word
        os.close(descriptor)
    thread.close()


def test_closing_waits_and_leaves_the_word(tmp_path: Path) -> None:
    thread = NATIVE.Thread()
    with (tmp_path / "log").open("wb") as file:
        thread.append(file.fileno(), b"frame", 0)
        thread.close()
    thread.close()

    assert (tmp_path / "log").read_bytes() == b"frame"
    assert thread.take() == (0, 0)


def test_a_thread_that_nobody_holds_ends_and_lets_go_of_its_frame(tmp_path: Path) -> None:
    frame = b"frame" * 1_000
    before, threads = sys.getrefcount(frame), len(os.listdir("/proc/self/task"))
    with (tmp_path / "log").open("wb") as file:
        thread = NATIVE.Thread()
        thread.append(file.fileno(), frame, 0)
        del thread
        gc.collect()

    assert (tmp_path / "log").read_bytes() == frame
    assert sys.getrefcount(frame) == before
    assert len(os.listdir("/proc/self/task")) == threads


@pytest.mark.parametrize(
    "arguments",
    [(), (1, b"a"), (1, "a", 0), (-1, b"a", 0), (1, b"a", -1), (2**31, b"a", 0), ("1", b"a", 0)],
    ids=["nothing", "no offset", "text", "no file", "before it", "too large", "a name"],
)
def test_what_makes_no_sense_is_refused_and_the_thread_stays_free(arguments: Any) -> None:
    thread = NATIVE.Thread()

    with pytest.raises((TypeError, ValueError)):
        thread.append(*arguments)

    assert thread.take() is None
    thread.close()


FORKED = """
import os, sys, tempfile
from tracker.native import extension
thread = extension("counter.native.appending").Thread()
with tempfile.TemporaryFile() as file:
    thread.append(file.fileno(), b"frame" * 100_000, 0)
    pid = os.fork()
    if pid == 0:
        assert thread.take() is None
        try:
            thread.append(file.fileno(), b"b", 0)
        except RuntimeError:
            thread.close()
            del thread
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    thread.close()
    assert thread.take() == (0, 0)
"""


@pytest.mark.slow
def test_a_process_that_was_forked_off_has_no_thread_and_does_not_wait_for_it() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=50)


# -- the store on it ------------------------------------------------------------------------


def test_only_the_plain_disk_is_left_to_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def kinds() -> list[bool]:
        found = [appending.appender_for(disk) for disk in (Disk(), PythonDisk())]
        for one in found:
            if one is not None:
                one.close()
        return [one is not None for one in found]

    assert asyncio.run(kinds()) == [True, False]
    monkeypatch.setattr(Disk, "sync", lambda self, descriptor: None)
    assert asyncio.run(kinds()) == [False, False]
    monkeypatch.undo()
    monkeypatch.setattr(appending, "_NATIVE", None)
    assert asyncio.run(kinds()) == [False, False]


def test_without_room_for_a_thread_the_worker_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        @staticmethod
        def Thread() -> None:
            raise OSError(11, "no more threads")

    monkeypatch.setattr(appending, "_NATIVE", Full)

    assert asyncio.run(_appender()) is None


async def _appender() -> object:
    return appending.appender_for(Disk())


async def test_a_full_disk_refuses_and_goes_on_once_there_is_room(
    opened: Open, directory: Path, disk: Disk
) -> None:
    async with opened(disk=disk) as store:
        assert (store.store._appender is not None) == (type(disk) is Disk)
        await store.keep(b"a")
        with file_bytes_max(store.store._log.end + 40):
            write_all(store, b"b" * 100)
            refused = (await store.heard())[-1]
        end = store.store._log.end
        assert (directory / "counts-00000000000000000001.log").stat().st_size == end
        await store.keep(b"c")

    assert refused == PersistFailed(2, refused.reason, definite=True)
    assert "the limit on the size of a file is reached" in refused.reason
    async with opened(disk=disk) as again:
        assert again.recovered == [(COUNTS, b"a"), (COUNTS, b"c")]


@on_linux
@pytest.mark.parametrize("device", ["/dev/null", "/dev/full"], ids=["sync", "write, then the cut"])
async def test_after_a_failure_nobody_understands_the_file_is_not_trusted_again(
    opened: Open, directory: Path, disk: Disk, device: str
) -> None:
    async with opened(disk=disk) as store:
        await store.keep(b"a")
        broken = os.open(device, os.O_RDWR)
        os.dup2(broken, store.store._log.descriptor)
        os.close(broken)
        write_all(store, b"b")
        lost = (await store.heard())[-1]
        write_all(store, b"c")
        after = (await store.heard())[-1]

    assert lost == PersistFailed(2, lost.reason, definite=False)
    assert "nothing more is written until the node is restarted" in lost.reason
    assert after == PersistFailed(3, after.reason, definite=True)
    assert (directory / "untrusted").exists()
    async with opened(disk=disk) as again:
        assert again.recovered == [(COUNTS, b"a")]
        await again.keep(b"d")


async def test_what_is_under_way_when_a_close_is_cancelled_is_told(directory: Path) -> None:
    store, events = DurableStorage(directory, "n1"), []
    assert list(store.recover()) == []
    store.start(events.append)
    store.write(Persist(1, COUNTS, b"a"))
    # The commit begins in the loop's next turn; its word is not waited for.
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await asyncio.sleep(0)

    assert events == [Persisted(1)]


async def test_commits_and_snapshots_take_turns_with_members(opened: Open) -> None:
    async with opened() as store:
        assert store.store._appender is not None
        await store.keep(b"a")
        await store.keep(b"m", kind="members")
        store.store.snapshot([b"state"])
        await store.keep(*[b"%d" % number for number in range(20)])
        await store.until_idle()

    async with opened() as again:
        kept = [("state", b"state"), *[(COUNTS, b"%d" % number) for number in range(20)]]
        assert again.recovered == [("members", b"m"), *kept]
