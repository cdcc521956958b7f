"""Mistakes planted in the processes that a load test starts: it ends with 99 and names them.

The rule: the mistake is made by one node of one process, once, far from the load test's own; what
it did is written to a file, and the report has to say the same.
"""

import json
import sys

import pytest

from counter.cli.app import run as run_command
from loadtest import cli

PLANT = """
import os
from counter import crdt

FILE, SIGN, AFTER = {file!r}, {sign}, {after}

class Wrong(dict):
    sets = 0

    def __setitem__(self, key, total):
        amount = total - self.get(key, 0)
        if amount > 0:
            self.sets += 1
            if self.sets >= AFTER and not os.path.exists(FILE):
                try:
                    file = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                except FileExistsError:
                    pass
                else:
                    os.write(file, f"{{key}} {{amount}}".encode())
                    total += SIGN * amount
        super().__setitem__(key, total)

began = crdt.Share.__init__

def begin(share, *arguments):
    began(share, *arguments)
    share.positive = Wrong(share.positive)

crdt.Share.__init__ = begin
"""
"""Python runs a module of the name `sitecustomize` before anything else: in each process."""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["sockets", "processes"])
@pytest.mark.parametrize(("what", "sign"), [("lost", -1), ("doubled", 1)])
def test_a_mistake_of_a_node_in_another_process_is_named_and_ends_with_99(
    monkeypatch, capsys, tmp_path, mode, what, sign
):
    planted = tmp_path / "planted"
    module = PLANT.format(file=str(planted), sign=sign, after=10)
    (tmp_path / "sitecustomize.py").write_text(module, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    options = f"--{mode} --nodes 4 --writers 2 --rate 500 --duration 500ms --queries 2 --latency 0"

    code = run_command([*options.split(), "--json"], cli._dispatch)

    out, err = capsys.readouterr()
    result = json.loads(out)
    key, amount = planted.read_text(encoding="ascii").split()
    (finding,) = result["checks"][0]["named"]
    assert code == 99
    assert (finding["what"], finding["key"], str(finding["amount"])) == (what, key, amount)
    # Increments of one key that are sent together are counted as one.
    (culprits,) = finding["candidates"]
    assert sum([each["amount"] for each in culprits]) == int(amount)
    assert result["writes"][what] == len(culprits)
    assert f"{what}: {amount} of {key} at {finding['node']}: " in err
    assert all(each["id"] in err for each in culprits)
