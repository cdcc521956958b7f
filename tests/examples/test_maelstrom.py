"""The script that Maelstrom is given, run as Maelstrom runs it: one node after another."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def line(body: str) -> bytes:
    return f'{{"src": "c1", "dest": "n1", "body": {{{body}}}}}\n'.encode()


BEGUN = line('"type": "init", "msg_id": 1, "node_id": "n1", "node_ids": ["n1"]')
ADDED = line('"type": "add", "msg_id": 2, "delta": 5')
READ = line('"type": "read", "msg_id": 3')


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with the script, and with a `counter` where the script looks for one."""
    (tmp_path / "examples").mkdir()
    script = tmp_path / "examples" / "maelstrom.sh"
    script.write_bytes((ROOT / "examples" / "maelstrom.sh").read_bytes())
    script.chmod(0o755)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from counter.cli import main; main()"
    counter = tmp_path / ".venv" / "bin" / "counter"
    counter.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}" "$@"\n')
    counter.chmod(0o755)
    return tmp_path


def run(place: Path, lines: bytes, *options: str, **environment: str) -> list[str]:
    command = [str(place / "examples" / "maelstrom.sh"), *options]
    ran = subprocess.run(
        command, input=lines, capture_output=True, cwd="/", check=False, timeout=45,
        env={**os.environ, "TMPDIR": str(place), **environment},
    )  # fmt: skip
    assert (ran.returncode, "Traceback" in ran.stderr.decode()) == (0, False), ran.stderr
    bodies = [json.loads(said)["body"] for said in ran.stdout.splitlines()]
    return [str(body.get("value", body["type"])) for body in bodies]


@pytest.mark.slow
def test_a_node_that_is_started_again_in_the_same_run_has_its_counts(place: Path) -> None:
    assert run(place, BEGUN + ADDED) == ["init_ok", "add_ok"]

    assert run(place, BEGUN + READ) == ["init_ok", "5"]
    assert (place / f"counter-maelstrom-{os.getpid()}" / "n1").is_dir()


@pytest.mark.slow
def test_the_directory_and_the_options_can_be_named(place: Path) -> None:
    named = {"MAELSTROM_DATA": str(place / "here")}

    assert run(place, BEGUN + ADDED, "--strict", **named) == ["init_ok", "add_ok"]
    assert (place / "here" / "n1").is_dir()
