"""Load on a cluster from Locust: increments and queries of the native client, as its requests.

    pip install 'gossip-counter[locust]'
    locust -f examples/locustfile.py --headless -u 50 -r 50 -t 30s -s 5 --host 127.0.0.1:7400

`--host` names the trackers, with commas. Each user has a client, and with it a connection, of its
own. The rule: what the clients were told is counted is compared with what the cluster holds when
all users have stopped, over however many workers they ran; a difference ends with code 99.

Locust runs its users on gevent, which replaces the sockets, locks and threads of Python. That is
done when `locust` is imported: so it comes first, and `Client` then waits as a greenlet waits.
"""

from locust import User, between, events, task  # isort: skip  (before anything of ours)

import sys
from collections.abc import Callable
from time import perf_counter

from locust.runners import WorkerRunner

from counter import Client, ClusterError, UnknownOutcomeError

WRONG = 99


class Books:
    """What the users of this process did; on the master, with that of all workers."""

    def __init__(self) -> None:
        self.counted = 0
        self.unknown = 0
        self.before = 0
        self.workers: dict[str, tuple[int, int]] = {}

    @property
    def all_counted(self) -> int:
        """Increments that are certainly counted."""
        return self.counted + sum(counted for counted, _ in self.workers.values())

    @property
    def all_unknown(self) -> int:
        """Increments that may be counted: under way, or with an unknown outcome."""
        return self.unknown + sum(unknown for _, unknown in self.workers.values())


books = Books()


class CounterUser(User):
    """Somebody who counts a lot and asks now and then."""

    wait_time = between(0.0, 0.02)

    def on_start(self) -> None:
        """Connect to one node, the less active the likelier."""
        self.key = self.environment.parsed_options.key
        self.client = Client(self.host or None)

    def on_stop(self) -> None:
        """End the connection."""
        self.client.close()

    @task(50)
    def incr(self) -> None:
        """Count once; a request of Locust."""
        # Locust may end a user in the middle of this, and then nobody knows: with `-s 5` only one
        # that has waited, and was about to begin.
        books.unknown += 1
        failure = self.measured("incr", lambda: self.client.incr(self.key))
        if not isinstance(failure, UnknownOutcomeError):
            books.unknown -= 1
            books.counted += failure is None

    @task(1)
    def query(self) -> None:
        """Ask the whole cluster; an answer that misses somebody is a failure."""

        def complete() -> None:
            total = self.client.query(self.key)
            if not total.complete:
                raise ClusterError(f"incomplete: {total.reason}")

        self.measured("query", complete)

    def measured(self, what: str, request: Callable[[], object]) -> ClusterError | None:
        """Make a request, and tell Locust how long it took and how it ended."""
        began, failure = perf_counter(), None
        try:
            request()
        except ClusterError as error:
            failure = error
        events.request.fire(
            request_type="counter",
            name=what,
            response_time=1000 * (perf_counter() - began),
            response_length=0,
            exception=failure,
            context={},
        )
        return failure


# -- the check ------------------------------------------------------------------------------


@events.init_command_line_parser.add_listener
def add_options(parser) -> None:
    """Add `--key`; Locust hands it to the workers as well."""
    parser.add_argument("--key", default="locust", help="the key that all users count")


@events.init.add_listener
def note_what_is_there(environment, runner, **_) -> None:
    """Read the key before anybody counts; a worker leaves that to its master."""
    if runner is not None and not isinstance(runner, WorkerRunner):
        try:
            books.before = held(environment)
        except ClusterError as error:
            sys.exit(f"error: {error}")


@events.report_to_master.add_listener
def tell(client_id, data) -> None:
    """Tell the master what was counted here so far."""
    data["books"] = (books.counted, books.unknown)


@events.worker_report.add_listener
def hear(client_id, data) -> None:
    """Note what a worker has counted so far."""
    books.workers[client_id] = tuple(data["books"])


@events.quitting.add_listener
def check(environment, **_) -> None:
    """Compare with what the cluster holds."""
    if environment.runner is None or isinstance(environment.runner, WorkerRunner):
        return
    try:
        found = held(environment) - books.before
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        environment.process_exit_code = 1
        return
    counted, unknown = books.all_counted, books.all_unknown
    is_right = counted <= found <= counted + unknown
    print(
        f"{'every' if is_right else 'NOT every'} acknowledged increment is in the total:"
        f" {counted} counted, {unknown} unknown, {found} found",
        file=sys.stderr,
    )
    if not is_right:
        environment.process_exit_code = WRONG


def held(environment) -> int:
    """Return what the cluster holds of the key. Raises ClusterError if somebody is missing."""
    options = environment.parsed_options
    with Client(options.host or None) as client:
        total = client.query(options.key)
    if not total.complete:
        raise ClusterError(f"the total is not complete: {total.reason}")
    return total.value
