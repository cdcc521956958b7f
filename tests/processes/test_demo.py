"""`counter demo`, shortened, on a pipe and on a terminal."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

WRITING_S = 0.4
SHORT = "import sys, counter.demo as demo; demo.WRITING_S = {}; sys.exit(demo.run())"


@pytest.fixture
def demo(machines):
    """Start a demo whose writers write for this long; returns the process."""
    started = []

    def start(writing_s=WRITING_S, **streams):
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, "-c", SHORT.format(writing_s)],
            env={**machines.environment, "TERM": "xterm", "COLUMNS": "80"},
            **{**pipes, **streams},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_on_a_pipe_it_prints_plain_lines_and_ends_with_an_exact_total(demo):
    out, err = demo().communicate(timeout=50)

    text = out.decode()
    assert err == b""
    assert "\x1b" not in text
    assert text.startswith("a tracker and 5 nodes are up in ")
    assert re.search(r"^[\d ]+  5/5 nodes  100.0 %  ", text, re.MULTILINE)
    total = re.search(r"asked once more:  ([\d ]+)   5/5 nodes", text)[1]
    assert f" acknowledged, {total} in all: exactly the answer" in text
    assert [line for line in text.splitlines()[-4:] if line.startswith(("next", "  counter"))] == (
        text.splitlines()[-4:]
    )


def test_a_total_that_does_not_fit_ends_it_with_99():
    code = "import counter.demo as d, sys; d.WRITING_S = 0.1\n"
    code += "write = d.Party.write\n"
    code += "async def lie(self, *a):\n    await write(self, *a)\n    self.acknowledged += 1\n"
    code += "d.Party.write = lie\nsys.exit(d.run())"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert ran.returncode == 99
    assert "the answer does not fit, and that is a bug" in ran.stdout


def test_on_a_terminal_it_draws_the_panel_and_ctrl_c_ends_it_quietly_with_130(demo):
    controller, terminal = pty.openpty()
    process = demo(60, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = b""
    until = time.monotonic() + 50
    while b"growth" not in seen and time.monotonic() < until:
        seen += os.read(controller, 65_536)

    process.send_signal(signal.SIGINT)
    while True:
        try:
            data = os.read(controller, 65_536)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(controller)

    assert process.wait(50) == 130
    assert b"views" in seen
    assert seen.endswith(b"\x1b[?25h")
    assert b"Traceback" not in seen


def test_ctrl_c_on_a_pipe_ends_the_command_with_130_without_a_word(machines):
    demo = machines.start("demo")
    head = demo.said("a tracker and 5 nodes are up")
    assert head

    demo.signal(signal.SIGINT)

    assert demo.ended() == 130
    assert demo.err == ""
