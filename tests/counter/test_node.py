"""On which port a node listens: the one asked for, or the next that is free for both its sockets.

The rule: real sockets hold the ports; only what the system says of a port may be made up.
"""

import errno
import os
import socket
from contextlib import ExitStack, closing

import pytest

from counter import node
from counter.node import NodeSettings, bound
from tracker.errors import ConfigError
from tracker.transport.tcp import bind_tcp
from tracker.transport.udp import bind_udp

HOST = "127.0.0.1"
SEARCHED = 3


def is_free(port):
    """Whether both kinds of socket can have it now."""
    with ExitStack() as stack:
        try:
            for bind in (bind_tcp, bind_udp):
                stack.enter_context(closing(bind((HOST, port))))
        except OSError:
            return False
    return True


@pytest.fixture
def first(monkeypatch):
    """Return the first of the ports that a search looks at, all of them free to begin with."""
    # Below those that the system gives to whoever does not choose.
    start = 12_000 + os.getpid() % 10_000
    found = next(
        port for port in range(start, 32_000) if all(is_free(port + i) for i in range(SEARCHED))
    )
    monkeypatch.setattr(node, "FIRST_PORT", found)
    monkeypatch.setattr(node, "PORTS_MAX", SEARCHED)
    return found


def taken_by(port=0, *, port_search=True):
    """Return the ports of the two sockets that a node with these settings gets."""
    settings = NodeSettings(name="n1", listen=(HOST, port), trackers=(), port_search=port_search)
    tcp, udp = bound(settings)
    with closing(tcp), closing(udp):
        return tcp.getsockname()[1], udp.getsockname()[1]


def test_a_search_takes_the_first_port_for_both_sockets(first):
    assert taken_by() == (first, first)


@pytest.mark.parametrize("bind", [bind_tcp, bind_udp], ids=["for streams", "for datagrams"])
def test_a_search_goes_on_past_a_port_that_is_taken(first, bind):
    with closing(bind((HOST, first))):
        assert taken_by() == (first + 1, first + 1)


def test_a_search_goes_on_past_a_port_that_the_system_does_not_give(first, monkeypatch):
    def bind(endpoint):
        if endpoint[1] == first:
            raise PermissionError(errno.EACCES, "Permission denied")
        return bind_tcp(endpoint)

    monkeypatch.setattr(node, "bind_tcp", bind)

    assert taken_by() == (first + 1, first + 1)


def test_a_search_that_finds_all_taken_takes_what_the_system_gives(first):
    searched = range(first, first + SEARCHED)
    with ExitStack() as stack:
        for port in searched:
            stack.enter_context(closing(bind_tcp((HOST, port))))
        tcp, udp = taken_by()

    assert tcp == udp
    assert tcp not in searched


@pytest.mark.parametrize(
    ("bind", "text"),
    [
        pytest.param(bind_tcp, r"port {} is in use +pass --listen HOST:0", id="for streams"),
        pytest.param(bind_udp, r"port {} is in use for datagrams +pass", id="for datagrams"),
    ],
)
@pytest.mark.parametrize("port_search", [True, False], ids=["search", "no search"])
def test_a_port_that_is_asked_for_and_taken_is_refused(first, bind, text, port_search):
    holder = bind((HOST, first))
    with closing(holder), pytest.raises(ConfigError, match=text.format(first)):
        taken_by(first, port_search=port_search)


def test_a_port_whose_datagrams_are_taken_is_let_go_of(first):
    with closing(bind_udp((HOST, first))):
        with pytest.raises(ConfigError, match="for datagrams"):
            taken_by(first)

        with socket.create_server((HOST, first)) as again:
            assert again.getsockname()[1] == first
