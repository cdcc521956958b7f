"""A real node on a disk that is slow, fails, fills up, or forgets what was not fsynced.

The rule: what a test wants of the disk is said by files in a directory (`Faults`), which the
node's own process looks at before each call; and a power cut is a SIGKILL after which every file
of the log is cut back to what it was when it was last fsynced.
"""

import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading

import pytest

from counter.client.blocking import Connection, now
from counter.messages import ACK_DISK, ACK_MEMORY, DOOR, Counted, Increment
from tracker.errors import ClusterError, InDoubtError, RefusedError

pytestmark = pytest.mark.slow

ANSWER_S = 30.0
PROGRAM = """
import errno, os, time
from pathlib import Path
from counter.storage import log
from tracker.files import Disk

faults = Path(os.environ["FAULTS"])
plain_write, plain_sync = Disk.write, Disk.sync

def is_wished(name):
    return (faults / name).exists()

def write(self, descriptor, data, offset):
    if is_wished("read-only"):
        raise OSError(errno.EROFS, "")
    return plain_write(self, descriptor, data, offset)

def sync(self, descriptor):
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    if ".snap" in path and is_wished("no-snapshots"):
        raise OSError(errno.EIO, "")
    if not path.endswith(".log"):
        return plain_sync(self, descriptor)
    (faults / "syncing").touch()
    while is_wished("hold"):
        time.sleep(0.005)
    if is_wished("failing"):
        raise OSError(errno.EIO, "")
    plain_sync(self, descriptor)
    with (faults / "synced").open("a") as synced:
        synced.write(f"{os.fstat(descriptor).st_size} {path}\\n")

Disk.write, Disk.sync = write, sync
log.SNAPSHOT_AFTER_BYTES = int(os.environ.get("SNAPSHOT_AFTER", log.SNAPSHOT_AFTER_BYTES))
from counter.cli import main
main()
"""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Faults:
    """One node on such a disk, and what its disk is to do."""

    def __init__(self, machines):
        self.machines = machines
        self.home = machines.home / "faults"
        self.home.mkdir()
        machines.tracker()
        self.start()

    def start(self):
        os.environ["FAULTS"] = str(self.home)
        machines, command = self.machines, (sys.executable, "-c", PROGRAM)
        begin = machines.back if "n1" in machines.nodes else machines.node
        self.node = begin("n1", command=command)
        self.node.said("joined tracker")

    def want(self, *names):
        for name in names:
            (self.home / name).touch()

    def end(self, *names):
        for name in names:
            (self.home / name).unlink()

    def until_syncing(self):
        """Wait until the disk was asked for one more fsync than before."""
        (self.home / "syncing").unlink(missing_ok=True)
        return lambda: self.machines.until((self.home / "syncing").exists)

    def cut_power(self):
        """Kill the node, and let its disk forget; returns how many bytes that were."""
        self.node.kill()
        lengths = {}
        for line in (self.home / "synced").read_text().splitlines():
            size, _, path = line.partition(" ")
            lengths[path] = int(size)
        forgotten = 0
        for path, length in lengths.items():
            with contextlib.suppress(FileNotFoundError):
                forgotten += max(0, os.path.getsize(path) - length)
                os.truncate(path, min(length, os.path.getsize(path)))
        return forgotten

    def restart(self):
        for name in ("hold", "failing", "read-only"):
            (self.home / name).unlink(missing_ok=True)
        self.start()


@pytest.fixture
def faults(machines, monkeypatch):
    monkeypatch.setenv("FAULTS", "")
    made = Faults(machines)
    yield made
    for name in ("hold", "failing", "read-only"):
        (made.home / name).unlink(missing_ok=True)


class Asker(threading.Thread):
    """One increment on a thread of its own; `told` is what came back, or the error."""

    def __init__(self, node, message):
        super().__init__()
        self.message = message
        self.endpoint = node.endpoint
        self.told = None
        self.start()

    def run(self):
        try:
            with Connection([self.endpoint], now() + ANSWER_S, codec=DOOR) as connection:
                self.told = connection.request(self.message)
        except ClusterError as error:
            self.told = error


def increment(sequence=1, amount=5, ack=ACK_DISK):
    return Increment(b"s" * 16, sequence, ("views", amount), ack)


def ask(faults, message):
    asker = Asker(faults.node, message)
    asker.join()
    return asker.told


@on_linux
def test_an_acknowledgement_waits_for_a_slow_fsync_and_everything_else_goes_on(faults):
    machines = faults.machines
    until_syncing = faults.until_syncing()
    faults.want("hold")
    asker = Asker(faults.node, increment())
    until_syncing()

    in_memory = ask(faults, increment(2, 7, ACK_MEMORY))
    # Whatever the node has to say of the first one it would have said by now.
    answer = machines.ask(faults.node)

    assert (in_memory.on_disk, in_memory.repeated) == (False, False)
    assert asker.told is None
    assert answer["complete"]
    faults.end("hold")
    asker.join()
    assert (asker.told.on_disk, asker.told.repeated) == (True, False)
    assert machines.ask(faults.node)["value"] == 12


@on_linux
def test_what_was_acknowledged_survives_a_power_cut_and_the_rest_counts_when_it_is_repeated(faults):
    for sequence in range(1, 21):
        assert ask(faults, increment(sequence)).on_disk
    until_syncing = faults.until_syncing()
    faults.want("hold")
    asker = Asker(faults.node, increment(21))
    until_syncing()

    forgotten = faults.cut_power()
    asker.join()
    faults.restart()

    # It was in the file, and is not any more; the client was told nothing.
    assert forgotten > 0
    assert isinstance(asker.told, ClusterError)
    assert faults.machines.share(faults.node) == 100
    assert not ask(faults, increment(21)).repeated
    assert ask(faults, increment(21)).repeated
    assert ask(faults, increment(20)).repeated
    assert faults.machines.share(faults.node) == 105


@on_linux
def test_under_load_and_after_several_power_cuts_the_total_is_exact(faults):
    dice, over, totals = random.Random(1), threading.Event(), [0, 0, 0, 0]

    def write(number):
        sequence = 0
        while not over.is_set():
            sequence += 1
            message = Increment(bytes([number]) * 16, sequence, ("views", 1), ACK_DISK)
            while not isinstance(ask(faults, message), Counted):
                pass
            totals[number] += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(len(totals))]
    for writer in writers:
        writer.start()
    try:
        for _ in range(3):
            before = sum(totals)
            faults.machines.until(lambda before=before: sum(totals) > before + 40)
            until_syncing = faults.until_syncing()
            faults.want("hold")
            until_syncing()
            if dice.random() < 0.5:
                faults.end("hold")
            faults.cut_power()
            faults.restart()
    finally:
        over.set()
        for writer in writers:
            writer.join()

    assert faults.machines.share(faults.node) == sum(totals)


@on_linux
def test_after_a_failed_fsync_nothing_more_is_written_before_a_restart_and_nothing_is_lost(faults):
    machines = faults.machines
    assert ask(faults, increment(1)).on_disk
    faults.want("failing")

    doubtful = ask(faults, increment(2))
    faults.end("failing")
    later = ask(faults, increment(3))

    assert isinstance(doubtful, InDoubtError)
    assert isinstance(later, RefusedError)
    assert (later.code, later.definite) == ("disk", True)
    assert machines.ask(faults.node)["complete"]
    faults.cut_power()
    faults.restart()
    # Whether the doubtful one is on disk or not, repeated it counts once.
    assert isinstance(ask(faults, increment(2)), Counted)
    assert isinstance(ask(faults, increment(3)), Counted)
    assert machines.share(faults.node) == 15


@on_linux
def test_a_disk_that_became_read_only_refuses_increments_and_answers_all_the_same(faults):
    machines = faults.machines
    assert ask(faults, increment(1)).on_disk
    faults.want("read-only")

    refused = ask(faults, increment(2))

    assert isinstance(refused, RefusedError)
    faults.node.said(r"write-failed  reason cannot write .*  records 1$")
    assert machines.ask(faults.node)["value"] == 5
    faults.node.kill()
    faults.restart()
    assert isinstance(ask(faults, increment(2)), Counted)
    assert machines.share(faults.node) == 10


@on_linux
def test_what_was_acknowledged_from_memory_without_a_record_survives_a_graceful_stop(faults):
    machines = faults.machines
    faults.want("read-only")
    counted = ask(faults, increment(1, ack=ACK_MEMORY))
    assert not counted.on_disk
    # By then its record was refused as well.
    assert isinstance(ask(faults, increment(2)), RefusedError)
    faults.end("read-only")

    assert faults.node.stop() == 0
    faults.restart()

    assert machines.share(faults.node) == 5
    assert ask(faults, increment(1)).repeated


@on_linux
def test_snapshots_that_fail_are_said_and_made_again_without_a_restart(faults, monkeypatch):
    monkeypatch.setenv("SNAPSHOT_AFTER", "1000")
    assert faults.node.stop() == 0
    faults.want("no-snapshots")
    faults.start()
    for sequence in range(1, 31):
        assert ask(faults, increment(sequence)).on_disk

    reason = r"reason cannot write .*/state-\d+\.snap: the disk reports an input/output error"
    faults.node.said(rf"snapshot-failed  {reason}  log \d+$")
    faults.end("no-snapshots")
    faults.node.said(r"snapshot-made  tries \d+  log \d+$")

    said = [line for line in faults.node.errors if "snapshot-failed" in line]
    assert len(said) <= 4, "once for a cause, and for each doubling of the log"
    assert list((faults.machines.home / "n1").glob("state-*.snap"))
    faults.node.kill()
    faults.restart()
    assert faults.machines.share(faults.node) == 150


# -- a file system that is full -------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """Return a directory on a file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"NOT TESTED: no file system of its own can be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: mounting a small file system needs root: {mounted.stderr}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk, name="filler"):
    """Write until there is no room for another byte."""
    with (disk / name).open("ab", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4_096))


@on_linux
def test_on_a_full_disk_increments_are_refused_until_there_is_room_without_a_restart(
    machines, small_disk
):
    machines.tracker()
    node = machines.node("n1", data=str(small_disk / "n1"))
    node.said("joined tracker")

    def told(sequence):
        asker = Asker(node, increment(sequence))
        asker.join()
        return asker.told

    counted = 0
    while isinstance(told(counted + 1), Counted):
        counted += 1
        if counted == 3:
            fill(small_disk)
    refused = told(counted + 1)
    answer = machines.ask(node)

    assert isinstance(refused, RefusedError)
    assert (refused.code, refused.definite) == ("disk", True)
    assert "the disk is full" in str(refused)
    assert (answer["value"], answer["complete"]) == (5 * counted, True)
    (small_disk / "filler").unlink()
    assert told(counted + 1).on_disk
    node.kill()
    again = machines.back("n1", data=str(small_disk / "n1"))
    assert machines.share(again) == 5 * (counted + 1)


def told_by(node, sequence):
    asker = Asker(node, increment(sequence))
    asker.join()
    return asker.told


def epoch_of(machines, name="n1"):
    [row] = [
        row for row in machines.run("members", "--json").json["members"] if row["name"] == name
    ]
    return row["epoch"]


@on_linux
def test_a_node_starts_again_and_again_on_a_full_disk_answers_and_counts_once_there_is_room(
    machines, small_disk
):
    """It was not started: it has to write down that it starts, and there was no room for that."""
    machines.tracker()
    other = machines.node("n2")
    node = machines.node("n1", data=str(small_disk / "n1"))
    node.said("joined tracker")
    counted = 0
    while isinstance(told_by(node, counted + 1), Counted):
        counted += 1
        if counted == 3:
            fill(small_disk)
    node.kill()
    epochs = [epoch_of(machines)]

    for is_stopped in (False, True, False):
        # Whatever room the last life left is taken by somebody else.
        fill(small_disk, "more")
        node = machines.back("n1", data=str(small_disk / "n1"))
        node.said(r"^note: the disk is full: it answers with all it has acknowledged")
        node.said("disk-full  reason the disk is full")
        epochs.append(epoch_of(machines))
        for asked in (node, other):
            wanted = (5 * counted, True, 2)
            machines.until(
                lambda asked=asked, wanted=wanted: (
                    ((a := machines.ask(asked))["value"], a["complete"], a["members"]) == wanted
                )
            )
        assert node.stop() == 0 if is_stopped else node.kill() is None

    fill(small_disk, "more")
    node = machines.back("n1", data=str(small_disk / "n1"))
    refused = told_by(node, counted + 1)
    assert isinstance(refused, RefusedError)
    assert (refused.code, refused.definite) == ("disk", True)
    for name in ("filler", "more"):
        (small_disk / name).unlink()

    assert told_by(node, counted + 1).on_disk
    assert told_by(node, counted).repeated
    assert machines.share(node) == 5 * (counted + 1)
    assert epochs == [1, 2, 3, 4]
    assert epoch_of(machines) == 5


@on_linux
def test_a_node_on_a_full_disk_is_not_drained_which_is_said_and_counts_on_once_there_is_room(
    machines, small_disk
):
    """The command looked on for ever, and said that the hand-over went on."""
    machines.tracker()
    other, node = machines.node("n2"), machines.node("n1", data=str(small_disk / "n1"))
    for each in (other, node):
        machines.until(lambda each=each: machines.ask(each)["members"] == 2)
    counted = 0
    while isinstance(told_by(node, counted + 1), Counted):
        counted += 1
        if counted == 3:
            fill(small_disk)

    ran = machines.run("drain", "n1")

    assert (ran.code, ran.out) == (1, "")
    assert "n1 stays: cannot write" in ran.err
    assert "the disk is full" in ran.err
    (small_disk / "filler").unlink()
    assert told_by(node, counted + 1).on_disk
    machines.until(lambda: machines.run("drain", "n1").code == 0)
    answer = machines.complete(other)
    assert (answer["value"], answer["members"]) == (5 * (counted + 1), 1)


@on_linux
def test_a_node_on_a_read_only_disk_is_not_started_and_says_what_to_do(machines, small_disk):
    machines.tracker()
    node = machines.node("n1", data=str(small_disk / "n1"))
    node.said("joined tracker")
    assert told_by(node, 1).on_disk
    node.kill()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    ran = machines.run("node", "--name", "n1", "--data", str(small_disk / "n1"))

    assert (ran.code, ran.out) == (1, "")
    assert "the file system is read-only" in ran.err
    assert "copy the directory to another disk, and start it there with --data" in ran.err
    moved = machines.home / "moved"
    shutil.copytree(small_disk / "n1", moved)
    again = machines.node("n1", data=str(moved))
    again.said("joined tracker")
    assert told_by(again, 2).on_disk
    assert machines.share(again) == 10
