"""`counter metrics`: what Prometheus wants to know of a cluster, printed once or served at a port.

The rule: each look asks anew, as anybody who asks does, and ends by its deadline; whatever could
not be learned is missing from the page or 0 there, never a number of before.
"""

import asyncio
from collections.abc import Sequence
from socket import socket
from typing import Annotated, Final

from counter.cli import options
from counter.cli.daemons import Insecure
from counter.cli.finding import NO_TRACKER
from counter.cli.options import Argument, Option
from counter.cli.screens import DONE, INCOMPLETE, REFUSED, USAGE, CommandError, show_error
from counter.cli.settings import Settings
from counter.client.asynchronous import AsyncClient
from counter.client.exposition import Page
from counter.client.inquiry import query_for
from tracker.config import parse_endpoint, shown_endpoint
from tracker.daemon import listening, run_daemon, say
from tracker.errors import ClusterError, ConfigError, UnreachableError
from tracker.text import printable

QUESTIONS_MAX: Final = 32
QUERY_S: Final = 2.0


def metrics(
    keys: Annotated[
        list[str],
        Argument(metavar="[KEY...]", help="Totals to tell; PREFIX* for all keys that begin so."),
    ] = (),  # type: ignore[assignment]  # as typer hands over no words at all
    listen: Annotated[
        str | None,
        Option(
            "--listen",
            metavar="HOST:PORT",
            help="Serve them there at /metrics, as 127.0.0.1:7490, until Ctrl-C.",
        ),
    ] = None,
    insecure: Insecure = False,
    node: options.Node = None,
    pick: options.Pick = None,
    tracker: options.Tracker = None,
    cluster: options.Cluster = None,
    deadline: options.Deadline = None,
) -> int:
    """Print members and totals for Prometheus, or serve them."""
    questions = _questions(keys)
    look = _Look(Settings(), questions, node, pick, tracker, cluster, deadline)
    if listen is None:
        return asyncio.run(look.once())
    try:
        endpoint = parse_endpoint(listen, port_min=0)
    except ConfigError as error:
        raise CommandError(f"--listen: {error}", code=USAGE) from error
    port = listening(endpoint, insecure=insecure)
    return run_daemon(lambda stop: look.served(port, stop))


def _questions(keys: Sequence[str]) -> list[str]:
    """Return what to ask, each once; raises CommandError."""
    questions = list(dict.fromkeys(keys))
    if len(questions) > QUESTIONS_MAX:
        text = f"{len(questions)} totals are asked for, at most {QUESTIONS_MAX} can be"
        raise CommandError(text, "PREFIX* stands for all keys that begin so", code=USAGE)
    try:
        for question in questions:
            query_for([question])
    except ConfigError as error:
        raise CommandError(str(error), code=USAGE) from error
    return questions


class _Look:
    """How one cluster is looked at, again and again."""

    def __init__(
        self,
        settings: Settings,
        questions: list[str],
        node: str | None,
        pick: str | None,
        tracker: str | None,
        cluster: str | None,
        deadline: str | None,
    ) -> None:
        self.questions = questions
        deadline_s: float | None = settings.get("deadline", deadline)
        self._query_s = deadline_s or QUERY_S
        self.trackers = [shown_endpoint(one) for one in settings.get("tracker", tracker)]
        self.client = AsyncClient(
            self.trackers,
            node=settings.get("node", node),
            pick=settings.get("pick", pick),
            deadline_s=self._query_s,
            cluster=settings.get("cluster", cluster),
        )

    async def once(self) -> int:
        """Print one page; returns the exit code."""
        async with self.client:
            page, errors = await self.page()
        say(page.text.rstrip("\n"))
        for text, error in {str(error): error for error in errors}.items():
            hints = NO_TRACKER if isinstance(error, UnreachableError) else ()
            show_error(CommandError(printable(text, 400), *hints))
        if errors:
            return REFUSED
        return DONE if page.is_complete else INCOMPLETE

    async def served(self, port: socket, stop: asyncio.Event) -> int:
        """Serve pages until told to stop; returns the exit code."""
        # Whoever prints one page does without a server.
        from counter.cli.exporter import Door

        asked = printable(", ".join(self.questions), 60) or "members only"
        async with self.client:
            await Door(self.page).serve(port, stop, asked)
        return DONE

    async def page(self) -> tuple[Page, list[ClusterError]]:
        """Ask for everything at once; returns it, and what could not be asked."""
        page = Page()
        answers = await asyncio.gather(
            self._members(page), *[self._total(page, question) for question in self.questions]
        )
        return page, [error for error in answers if error is not None]

    async def _members(self, page: Page) -> ClusterError | None:
        try:
            members = await self.client.members()
        except ClusterError as error:
            page.put("up", 0)
            return error
        page.put("up", 1)
        page.put_members(members)
        return None

    async def _total(self, page: Page, question: str) -> ClusterError | None:
        try:
            total = await self.client.query(question, deadline_s=self._query_s)
        except ClusterError as error:
            page.put("complete", 0, query=question)
            return error
        page.put_total(question, total)
        return None
