"""What `counter node` and `counter tracker` are started with."""

import json
import os
import socket
from pathlib import Path

import pytest

from counter.cli.daemons import listen_endpoint, made_up_name, state_directory
from counter.cli.screens import CommandError
from counter.cli.settings import Settings, whole
from counter.testing import cluster
from tracker.config import parse_name


@pytest.mark.parametrize(
    "arguments",
    [
        ["node", "--listen", ":70000"], ["node", "--listen", "127.0.0.1:70000"],
        ["node", "--listen", "127.0.0.1"], ["node", "--name", "n" * 65], ["node", "--name", "../x"],
        ["node", "--name", "🦦"], ["node", "--tracker", "nowhere"], ["node", "--chatter", "0"],
        ["node", "--data", "d", "--memory"], ["node", "--preset", "moon"],
        ["tracker", "--listen", "127.0.0.1:-1"], ["tracker", "--interval", "0s"],
        ["tracker", "--interval", "1"], ["tracker", "--forget-after", "1s"],
        ["tracker", "--suspect-after", "1s"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_nonsense_is_refused_before_anything_is_made(counter, arguments):
    ran = counter(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert not Path("state").exists()


def test_a_made_up_name_is_a_name_that_can_be_said():
    names = {made_up_name() for _ in range(20)}

    assert [name for name in names if parse_name(name) != name] == []
    assert len(names) > 10


def test_a_directory_that_is_started_without_a_name_keeps_the_one_it_has(start):
    begun = ("node", "--data", "d", "--listen", "127.0.0.1:0", "--tracker", "127.0.0.1:1")
    lines = []
    for _ in range(2):
        process = start(*begun)
        lines.append(process.stdout.readline().split())
        process.terminate()
        assert process.wait(50) == 0

    first, second = lines
    assert second[:3] == first[:3]


def test_a_damaged_directory_that_is_started_without_a_name_is_refused_by_its_file(start):
    Path("d").mkdir()
    Path("d/identity").write_bytes(b"GOSSIDE\n and no more")

    out, err = start("node", "--data", "d", "--listen", "127.0.0.1:0").communicate(timeout=50)

    assert (out, b"identity is damaged at byte" in err) == (b"", True)


def test_data_is_kept_under_the_user_s_state_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "counter"

    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_directory() == Path("~/.local/state/counter").expanduser()


def test_port_zero_may_be_asked_for():
    assert listen_endpoint(Settings({}), "127.0.0.1:0") == ("127.0.0.1", 0)
    assert listen_endpoint(Settings({}), None) is None


def test_a_senseless_address_is_refused_by_where_it_stands():
    with pytest.raises(CommandError, match="COUNTER_LISTEN"):
        listen_endpoint(Settings({"COUNTER_LISTEN": "7401"}), None)


@pytest.mark.parametrize(("written", "number"), [(None, None), ("7", 7), ("-7", -7)])
def test_a_flag_that_holds_a_number_is_read_as_one(written, number):
    assert whole(written, "chatter") == number


@pytest.mark.parametrize("written", ["", "-", "1e3", "٣", "9" * 30])
def test_a_flag_that_holds_no_number_is_refused(written):
    with pytest.raises(CommandError, match="--chatter"):
        whole(written, "chatter")


@pytest.mark.parametrize("place", ["manager", "@counter-{pid}"], ids=["a file", "no file"])
@pytest.mark.parametrize(
    "daemon", [["tracker"], ["node", "--memory", "--tracker", "127.0.0.1:1"], ["metrics"]]
)  # fmt: skip
def test_systemd_is_told_when_a_daemon_listens_and_when_it_is_about_to_stop(start, daemon, place):
    place = place.format(pid=os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(place.replace("@", "\0"))
        manager.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": place}
        process = start(*daemon, "--listen", "127.0.0.1:0", env=environment)

        assert manager.recv(99) == b"READY=1"
        process.terminate()
        assert manager.recv(99) == b"STOPPING=1"
        assert process.wait(50) == 0


def test_a_manager_that_is_gone_or_hangs_keeps_no_daemon_from_its_work(start):
    environment = {**os.environ, "NOTIFY_SOCKET": "nowhere/manager"}
    process = start("tracker", "--listen", "127.0.0.1:0", env=environment)

    assert process.stdout.readline().startswith(b"counter tracker")
    process.terminate()
    assert process.communicate(timeout=50)[1].splitlines() == [b"tracker-started  members 0"]


def test_a_node_logs_objects_where_programs_read_them(start):
    with cluster() as running:
        where = ("--tracker", running.trackers, "--listen", "127.0.0.1:0")
        process = start("node", "--memory", "--json", "--name", "n9", *where)
        joined = json.loads(process.stderr.readline())
        process.terminate()
        process.communicate(timeout=50)

    assert (joined["event"], joined["tracker"], joined["members"]) == (
        "joined",
        running.trackers,
        2,
    )
