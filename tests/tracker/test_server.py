"""The tracker as a service: its port, its small file, and what it says first."""

import asyncio
import os
from pathlib import Path

import pytest

from tracker.config import TrackerConfig
from tracker.daemon import listening
from tracker.errors import AddressError, ConfigError, DamagedError, StorageError
from tracker.machine import Emit, Persist, Persisted, PersistFailed
from tracker.members import Member
from tracker.messages import MEMBERSHIP, Hello, Listed, Register, Registered, Roster, Welcome
from tracker.server import ListFile, NoFile, Tracker, TrackerSettings, first_lines
from tracker.wire import PROTOCOL, FrameReader, framed

NEWCOMER = Member("n1", bytes(range(16)), 0, 1, 0, "127.0.0.1", 9)


class Client:
    """A node or a client on a stream to a tracker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.frames = FrameReader()
        self.heard: list = []

    def say(self, *messages: object) -> None:
        self.writer.write(b"".join([framed(MEMBERSHIP.encode(m)) for m in messages]))

    async def hears(self, kind: type) -> object:
        """Return the next message of this kind."""
        async with asyncio.timeout(30):
            while True:
                for message in self.heard:
                    if isinstance(message, kind):
                        self.heard.remove(message)
                        return message
                data = await self.reader.read(65_536)
                assert data
                self.heard += [MEMBERSHIP.decode(body) for body in self.frames.feed(data)]


@pytest.fixture
async def run(tmp_path: Path):
    """Start trackers that keep their list in one place; all of them end with the test."""
    running: list[Tracker] = []

    async def start(**options: object) -> tuple[Tracker, Client, list[Emit]]:
        emitted: list[Emit] = []
        settings = {"listen": ("127.0.0.1", 0), "data": tmp_path / "list", **options}
        tracker = Tracker(TrackerSettings(**settings), emitted.append)
        await tracker.start()
        running.append(tracker)
        client = Client(*await asyncio.open_connection(*tracker.endpoint))
        client.say(Hello(PROTOCOL, "default"))
        assert await client.hears(Welcome) == Welcome(PROTOCOL, "tracker", "")
        return tracker, client, emitted

    yield start
    for tracker in running:
        await tracker.stop()


async def rows_of(client: Client) -> list:
    client.say(Roster(1))
    return [(m.name, m.status) for m, _, _ in (await client.hears(Listed)).rows]


async def test_a_tracker_that_stops_and_starts_again_knows_whom_it_knew(run):
    tracker, client, emitted = await run()
    client.say(Register(NEWCOMER))
    await client.hears(Registered)
    assert [emit.event for emit in emitted] == ["tracker-started", "joined"]

    client.writer.close()
    await tracker.stop()
    again, client, _ = await run()

    assert [name for name, _ in await rows_of(client)] == ["n1"]
    assert len(again.machine) == 1
    assert again.machine.table.get("n1").store == NEWCOMER.store
    client.writer.close()


async def test_without_a_directory_nothing_is_kept(run):
    tracker, client, _ = await run(data=None)
    client.say(Register(NEWCOMER))
    await client.hears(Registered)
    client.writer.close()
    await tracker.stop()

    _, client, _ = await run(data=None)

    assert await rows_of(client) == []
    client.writer.close()


async def test_a_damaged_list_is_refused_and_left_as_it_is(run, tmp_path):
    file = tmp_path / "list" / "members"
    file.parent.mkdir()
    file.write_bytes(b"rubbish")

    with pytest.raises(DamagedError, match=r"members.* if it is moved away"):
        await run()

    assert file.read_bytes() == b"rubbish"


async def test_a_place_that_is_no_directory_is_refused(run, tmp_path):
    (tmp_path / "list").write_text("a file")

    with pytest.raises(StorageError, match="cannot use"):
        await run()


async def test_a_burst_of_lists_is_written_as_the_latest_one(tmp_path):
    settled: list = []
    done = asyncio.Event()

    def settle(event: object) -> None:
        settled.append(event)
        if event == Persisted(50):
            done.set()

    file = ListFile(tmp_path)
    file.start(settle)
    for token in range(1, 51):
        file.write(Persist(token, "members", b"list %d" % token))
    async with asyncio.timeout(30):
        await done.wait()
    file.close()

    assert settled == [Persisted(1), Persisted(50)]
    assert ListFile(tmp_path).read() == b"list 50"


async def test_what_still_waits_is_written_by_the_close(tmp_path):
    file = ListFile(tmp_path)
    file.start(lambda event: None)
    file.write(Persist(1, "members", b"first"))
    file.write(Persist(2, "members", b"last"))

    file.close()

    assert ListFile(tmp_path).read() == b"last"


async def test_a_write_that_fails_comes_back_as_an_event(tmp_path):
    settled: asyncio.Queue = asyncio.Queue(maxsize=4)
    file = ListFile(tmp_path / "list")
    file.start(settled.put_nowait)
    (tmp_path / "list").rmdir()

    file.write(Persist(1, "members", b"lost"))
    async with asyncio.timeout(30):
        event = await settled.get()
    file.close()

    assert isinstance(event, PersistFailed)
    assert (event.token, event.definite) == (1, False)


async def test_a_list_in_memory_is_kept_at_once(tmp_path):
    settled: list = []
    nowhere = NoFile()
    nowhere.start(settled.append)

    nowhere.write(Persist(1, "members", b"x"))
    await asyncio.sleep(0)

    assert settled == [Persisted(1)]
    assert nowhere.read() is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_beyond_this_machine_nobody_listens_unless_told_so(host):
    with pytest.raises(ConfigError, match="--insecure"):
        listening((host, 0), insecure=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost"])
def test_a_loopback_address_is_listened_on(host):
    with listening((host, 0), insecure=False) as sock:
        assert sock.getsockname()[1]


def test_everywhere_is_listened_on_when_told_so():
    with listening(("0.0.0.0", 0), insecure=True) as sock:
        assert sock.getsockname()[0] == "0.0.0.0"


def test_a_port_in_use_is_refused_with_what_to_do():
    with listening(("127.0.0.1", 0), insecure=False) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is in use .*--listen HOST:0"):
            listening(("127.0.0.1", port), insecure=False)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 300, "\udcff"])
def test_a_host_that_does_not_exist_is_refused(host):
    with pytest.raises(AddressError, match="no such host"):
        listening((host, 0), insecure=False)


def test_an_address_that_this_machine_does_not_have_yet_may_be_tried_again():
    with pytest.raises(AddressError, match=r"cannot listen on 192\.0\.2\.1:7409: cannot as"):
        listening(("192.0.2.1", 7409), insecure=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen anywhere")
def test_a_port_that_needs_rights_is_refused():
    with pytest.raises(AddressError, match=r"cannot listen on 127\.0\.0\.1:1: "):
        listening(("127.0.0.1", 1), insecure=False)


@pytest.mark.parametrize(
    ("host", "port", "option"),
    [
        ("127.0.0.1", 7400, ""),
        ("0.0.0.0", 7400, ""),
        ("127.0.0.1", 7411, " --tracker 127.0.0.1:7411"),
        ("10.0.0.5", 7400, " --tracker 10.0.0.5:7400"),
    ],
    ids=["usual", "everywhere", "other port", "other host"],
)
def test_the_first_lines_say_where_it_is_and_what_to_type_next(host, port, option, tmp_path):
    endpoint = (host, port)
    settings = TrackerSettings(listen=endpoint, data=tmp_path, config=TrackerConfig())

    first, second = first_lines(settings, endpoint, 3).splitlines()

    assert first == f"counter tracker  {host}:{port}   list {tmp_path} (3 members)"
    assert second == f"next:  counter node --name n1{option}"
