"""The file of a scenario: TOML, read into what is to be done, and refused where it is nonsense.

    about = "One node is paused for three seconds, and wakes with an old view."
    nodes = 10
    duration = "8s"

    [network]                    how good it is
    [[writers]]                  who counts, how fast
    [[queries]]                  who asks what, how often
    [[events]]                   what goes wrong, and when
    [expect]                     what must hold beside what always must

The rule: nothing in a file is run. It holds times, shares and names, each with a range; a refusal
names the file, the line and the field. Times count from when the cluster is up.
"""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from counter.query import COMPLETE
from loadtest.scenarios.fields import TRACKERS, FieldError, Table, Who, nearest, read_table, shown
from loadtest.scenarios.tables import (
    EVENTS,
    LISTS,
    NODES_MAX,
    TABLES,
    Backup,
    Event,
    Join,
    Restart,
    Scenario,
)
from tracker.errors import ConfigError

TABLES_MAX = 100
"""Writers, queries or events in one file."""
QUERIES_MAX = 10_000
FILE_CHARACTERS_MAX = 200_000


def parse(text: str, name: str, where: str, *, nodes: int | None = None) -> Scenario:
    """Return the scenario in a file. Raises ConfigError with `where`, line and field.

    `nodes` takes the place of the number in the file.
    """
    if len(text) > FILE_CHARACTERS_MAX:
        raise ConfigError(f"{where}: longer than {FILE_CHARACTERS_MAX} characters")
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML: {error}") from error
    if nodes is not None:
        given["nodes"] = nodes
    return _Reader(given, text, where).scenario(name)


class _Reader:
    """Reads one file, and knows in which line a table began."""

    def __init__(self, given: dict[str, Any], text: str, where: str) -> None:
        self._given = given
        self._lines = text.splitlines()
        self._where = where

    def scenario(self, name: str) -> Scenario:
        top = {k: v for k, v in self._given.items() if k not in {*LISTS, *TABLES, "events"}}
        read: dict[str, Any] = {"name": name}
        for table, cls in TABLES.items():
            value = self._given.get(table, {})
            if type(value) is not dict:
                raise self._refused("", 0, table, f"{table} is a table: [{table}]")
            read[table] = self._table(cls, value, table, 0)
        for table, each in LISTS.items():
            rows = self._rows(table)
            read[table] = tuple([self._table(each, row, table, n) for n, row in rows])
        read["events"] = tuple([self._event(row, n) for n, row in self._rows("events")])
        scenario = self._table(Scenario, top, "", 0, **read)
        self._check_whole(scenario)
        return scenario

    def _rows(self, table: str) -> list[tuple[int, dict[str, Any]]]:
        rows = self._given.get(table, [])
        if type(rows) is not list or any(type(row) is not dict for row in rows):
            raise self._refused("", 0, table, f"{table} may be several: write [[{table}]]")
        if len(rows) > TABLES_MAX:
            raise ConfigError(f"{self._where}: {len(rows)} {table}, at most {TABLES_MAX}")
        return list(enumerate(rows))

    def _event(self, row: dict[str, Any], index: int) -> Event:
        rest = dict(row)
        do = rest.pop("do", None)
        if do is None:
            raise self._refused("events", index, "", f"do is missing ({', '.join(EVENTS)})")
        cls = EVENTS.get(do) if type(do) is str else None
        if cls is None:
            known = nearest(do, EVENTS) if type(do) is str else ""
            raise self._refused("events", index, "do", f"nothing is called {shown(do)}{known}")
        event = self._table(cls, rest, "events", index)
        if event.ends_s < event.at_s:
            raise self._refused("events", index, "until", "until is before at")
        if isinstance(event, Restart) and event.moved and _names_trackers(event.who):
            text = "a tracker cannot move: nodes look for it where it was"
            raise self._refused("events", index, "moved", text)
        return event

    def _table(
        self, cls: type[Table], given: dict[str, Any], table: str, index: int, **fixed: Any
    ) -> Table:
        try:
            return read_table(cls, given, **fixed)
        except FieldError as error:
            raise self._refused(table, index, error.name, str(error)) from error

    def _check_whole(self, scenario: Scenario) -> None:
        """Refuse what only shows once all tables are read."""
        self._check_names(scenario)
        if scenario.expect.end == COMPLETE and scenario.expect.missing != Who():
            text = 'who is missing is named, and the end is to be complete; write end = "converged"'
            raise self._refused("expect", 0, "missing", text)
        for index, asked in enumerate(scenario.queries):
            last = scenario.duration_s if asked.last_s is None else asked.last_s
            if (last - asked.at_s) / asked.every_s > QUERIES_MAX:
                text = f"more than {QUERIES_MAX} queries"
                raise self._refused("queries", index, "every", text)
        made = [event.at_s for event in scenario.events if isinstance(event, Backup)]
        for index, event in enumerate(scenario.events):
            needs_one = isinstance(event, Restart) and event.disk == "backup"
            if needs_one and not any(at_s < event.at_s for at_s in made):
                raise self._refused("events", index, "disk", "no backup is made before")

    def _check_names(self, scenario: Scenario) -> None:
        """Refuse names that nobody will have."""
        joins = sum(event.count for event in scenario.events if isinstance(event, Join))
        total = scenario.nodes + joins
        if total > NODES_MAX:
            raise ConfigError(f"{self._where}: {total} nodes in all, at most {NODES_MAX}")
        count_max = {"n": total, "t": scenario.trackers}
        for table, index, whos in _named(scenario):
            for name in [name for who in whos for name in who.names]:
                most = count_max[name[0]]
                if int(name[1:]) > most:
                    kind = "nodes" if name[0] == "n" else "trackers"
                    text = f"{name} is nobody: there are {most} {kind}"
                    raise self._refused(table, index, "who", text)

    # -- where it stands ----------------------------------------------------------------------

    def _refused(self, table: str, index: int, name: str, text: str) -> ConfigError:
        place = f"[[{table}]] " if table in {*LISTS, "events"} else f"[{table}] " if table else ""
        return ConfigError(f"{self._where}:{self._line_of(table, index, name)}: {place}{text}")

    def _line_of(self, table: str, index: int, name: str) -> int:
        """Return the line of a field, or that of its table, as people count them."""
        current, seen, found = "", 0, 1
        for number_, line in enumerate(self._lines, 1):
            header = re.match(r"\s*\[+\s*([\w.-]+)\s*\]+", line)
            if header is not None:
                current = header[1]
                seen += current == table
            if current != table or (table and seen != index + 1):
                continue
            if header is not None:
                found = number_
            elif name and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=", line):
                return number_
        return found


def _names_trackers(who: Who) -> bool:
    return TRACKERS in who.groups or any(name[0] == "t" for name in who.names)


def _named(scenario: Scenario) -> Iterator[tuple[str, int, list[Who]]]:
    for index, event in enumerate(scenario.events):
        yield "events", index, list(event.named())
    for index, writers in enumerate(scenario.writers):
        yield "writers", index, [writers.who]
    for index, queries in enumerate(scenario.queries):
        yield "queries", index, [queries.who]
    yield "expect", 0, [scenario.expect.missing]
