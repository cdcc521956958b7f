"""The console blocks of README and docs/, typed in by a test: what they show is what happens.

The rule: a document is run from its first block to its last, in a home of its own, on free
ports. Times, addresses and random ids are compared by their form, everything else to the letter.

What a block may hold, and what the comments around it mean::

    ```console                     lines with `$ ` are typed, the others are what came back
    <!-- stop: counter node … -->  Ctrl-C in the terminal in which that command runs
    <!-- file: name -->            the next block, of whatever kind, is saved as that file
    <!-- not run: why -->          the next block is left alone

`make docs` (pytest --record) writes anew what came back, where it differs by more than its times.
"""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest
from ports import free_ports

from counter.client.blocking import Connection
from counter.messages import DOOR
from tracker.errors import ClusterError
from tracker.members import ALIVE
from tracker.messages import Roster

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if "```console" in path.read_text(encoding="utf-8")
)
ANSWER_S = 60.0
PROGRAM = "import sys; sys.path.insert(0, {root!r}); from counter.cli import main; main()"
ADDRESS = re.compile(r"127\.0\.0\.1:([0-9]{4,5})")
STEP = re.compile(
    r"<!-- stop: (?P<stop>.+?) -->|(?P<skip><!-- not run: .+? -->\s*\n```console\n.*?^```$)"
    r"|<!-- file: (?P<file>.+?) -->\s*\n```\w*\n(?P<content>.*?)^```$"
    r"|^```console\n(?P<block>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
FORMS = [
    (r" --tracker ADDRESS(?=$|\s)", ""),
    (r"\b[0-9][0-9.]* (?:ms|s|m|h|d)\b", "TIME"),
    (r'"(query|store|id)": "[0-9A-Za-z]+"', r'"\1": "ID"'),
    (r'"(\w+_m?s|bytes|messages|duplicates|activity)": [0-9.]+', r'"\1": 0'),
    (r"\bstore [0-9a-f]{8}\b", "store ID"),
    (r"(?m)^(query )?[0-9a-f]{8}(?:[0-9a-f]{24})?(?= )", r"\1ID"),
    (r"\b[0-9]+ messages?\b", "MESSAGES"),
    (r"(TIME)\s+(?:[0-9]+|-)\s+(durable|memory)", r"\1 ACTIVITY \2"),
    (r" on n[0-9]\b", " on NODE"),
    (r"process [0-9]+", "process PID"),
    (r"[ \t]+", " "),
]


def form_of(text: str) -> str:
    """Return what of an output is the same in every run."""
    text = ADDRESS.sub("ADDRESS", text)
    for pattern, form in FORMS:
        text = re.sub(pattern, form, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


class Desk:
    """The terminals of one reader: daemons in some of them, commands in another."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.endpoints: dict[str, tuple[str, int]] = {}
        self.code = 0
        self._real: dict[str, str] = {}
        self._shown: dict[str, str] = {}
        (home / "bin").mkdir()
        shim = home / "bin" / "counter"
        program = PROGRAM.format(root=str(ROOT))
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}" "$@"\n')
        shim.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "HOME": str(home),
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "COLUMNS": "80",
            # A busy machine must not look like a node that is dead: silence is given longer.
            "COUNTER_PRESET": "wan",
            "COUNTER_TRACKER": self.real("127.0.0.1:7400"),
        }

    def close(self) -> None:
        for process in self.daemons.values():
            process.kill()
            process.communicate()

    # -- addresses: those of the page, and free ones in their place -------------------------------

    def real(self, command: str) -> str:
        """Return a command with a free port in the place of each that the page names."""

        def replaced(match: re.Match[str]) -> str:
            shown = match[1]
            if shown not in self._real:
                self._note(str(free_ports(1)[0]), shown)
            return f"127.0.0.1:{self._real[shown]}"

        return ADDRESS.sub(replaced, command)

    def shown(self, text: str) -> str:
        """Return an output with the ports that the page would show."""

        def replaced(match: re.Match[str]) -> str:
            if match[1] not in self._shown:
                taken = {int(port) for port in self._real}
                self._note(match[1], str(next(p for p in range(7401, 7500) if p not in taken)))
            return f"127.0.0.1:{self._shown[match[1]]}"

        for shown, real in self._real.items():
            text = text.replace(f"tracker-127.0.0.1-{real}", f"tracker-127.0.0.1-{shown}")
        text = ADDRESS.sub(replaced, text.replace(str(self.home), "~"))
        return text.replace(" --tracker 127.0.0.1:7400", "")

    def _note(self, real: str, shown: str) -> None:
        self._real[shown], self._shown[real] = real, shown

    # -- typing -----------------------------------------------------------------------------------

    def type(self, command: str) -> str:
        """Run one command as if it were typed; returns what came back."""
        if re.match(r"counter (tracker|node)\b(?!.*--help)", command):
            return self._start(command)
        terminal, end = pty.openpty()
        line = f"(exit {self.code}); {self.real(command)}"
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=self.home, env=self.environment, stdin=end, stdout=end,
            stderr=end, start_new_session=True,
        )  # fmt: skip
        os.close(end)
        output = b""
        with suppress(OSError):
            while data := os.read(terminal, 65_536):
                output += data
        os.close(terminal)
        self.code = process.wait(timeout=ANSWER_S)
        if command.startswith("kill "):
            self._bury()
            self.settle()
        return self.shown(output.decode().replace("\r\n", "\n"))

    def _start(self, command: str) -> str:
        environment = dict(self.environment)
        if command.startswith("counter tracker") and "--listen" not in command:
            environment["COUNTER_LISTEN"] = self.real("127.0.0.1:7400")
        process = subprocess.Popen(
            ["sh", "-c", f"exec {self.real(command)}"], cwd=self.home, env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        output = ""
        assert process.stdout is not None
        for line in process.stdout:
            output += line.decode()
            if line.startswith(b"next:"):
                break
        else:
            self.code = process.wait(timeout=ANSWER_S)
            process.stdout.close()
            return self.shown(output)
        self.daemons[command] = process
        if (where := ADDRESS.search(output)) is not None:
            self.endpoints[command] = ("127.0.0.1", int(where[1]))
        self.settle()
        return self.shown(output)

    def stop(self, command: str) -> None:
        """Press Ctrl-C in the terminal of a daemon."""
        process = self.daemons.pop(command)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=ANSWER_S)
        assert process.returncode == 0, f"{command} ended with {process.returncode}"
        self.settle()

    # -- waiting until the news is everywhere, as a reader does without noticing ----------------

    def settle(self) -> None:
        """Wait until everybody who lives knows exactly who lives; without a tracker, do not."""
        names = {self._name_of(command) for command in self.daemons} - {"tracker"}
        if not any(command.startswith("counter tracker") for command in self.daemons):
            return
        until = monotonic() + ANSWER_S
        for command in self.daemons:
            role = command.split()[1]
            while self._known_to(self.endpoints[command], role) != names:
                assert monotonic() < until, f"{command} does not know who lives: {names}"

    def _bury(self) -> None:
        """Wait for the daemon that was killed."""
        until = monotonic() + ANSWER_S
        while not (dead := [c for c, p in self.daemons.items() if p.poll() is not None]):
            assert monotonic() < until, "nobody was killed"
        for command in dead:
            self.daemons.pop(command).communicate()

    @staticmethod
    def _name_of(command: str) -> str:
        name = re.search(r"--name (\S+)", command)
        return name[1] if name is not None else "tracker"

    @staticmethod
    def _known_to(endpoint: tuple[str, int], role: str) -> set[str]:
        with (
            suppress(ClusterError),
            Connection([endpoint], monotonic() + 1.0, role=role, codec=DOOR) as connection,
        ):
            rows = [row for page in connection.stream(Roster(1)) for row in page.rows]
            return {member.name for member, _, _ in rows if member.status == ALIVE}
        return set()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def typed_in(desk: Desk, block: str) -> str:
    """Run a block; returns it with what came back this time, its old lines where alike."""
    result = ""
    for part in re.split(r"(?m)^(?=\$ )", block):
        if not part.startswith("$ "):
            result += part
            continue
        command, _, told = part[2:].partition("\n")
        while command.endswith("\\"):
            more, _, told = told.partition("\n")
            command = f"{command}\n{more}"
        came = desk.type(command.replace("\\\n> ", "\\\n"))
        kept = told if form_of(told) == form_of(came) else came
        result += f"$ {command}\n{kept}"
    return result


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_shows_is_what_happens(
    document: str, desk: Desk, recorded: Callable[[str, str], None]
) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    parts, last = [], 0
    for step in STEP.finditer(text):
        if step["stop"] is not None:
            desk.stop(step["stop"])
        elif step["file"] is not None:
            (desk.home / step["file"]).write_text(step["content"], encoding="utf-8")
        elif step["block"] is not None:
            parts += [text[last : step.start("block")], typed_in(desk, step["block"])]
            last = step.end("block")

    recorded(document, "".join([*parts, text[last:]]))


def test_two_outputs_that_differ_in_a_count_have_different_forms() -> None:
    shown = "7   3/3 nodes · 8 ms · 1 hop · 4 messages"

    assert form_of(shown) == form_of("7   3/3 nodes · 11 ms · 1 hop · 5 messages")
    assert form_of(shown) != form_of("8   3/3 nodes · 8 ms · 1 hop · 4 messages")
    assert form_of(shown) != form_of("7   2/3 nodes · 8 ms · 1 hop · 4 messages")
