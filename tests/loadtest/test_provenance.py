"""What a log tells of where it was made."""

import json
import platform
import socket
from pathlib import Path

from loadtest import provenance
from tracker.native.inventory import used


def test_a_log_tells_versions_and_machine_and_when():
    facts = provenance.facts()

    assert facts["python"].endswith(platform.python_version())
    assert facts["kernel"] == platform.release()
    assert facts["packages"]["msgpack"][0].isdigit()
    assert facts["native"] == used()
    assert facts["cores"] >= 1
    assert facts["started_at"][4] == "-"
    assert facts["started_at"].endswith("Z")
    json.dumps(facts, allow_nan=False)


def test_a_log_tells_no_host_and_no_directory():
    facts = provenance.facts()

    assert socket.gethostname() not in facts.values()
    assert str(Path.cwd()) not in json.dumps(facts)


def test_a_package_that_is_missing_is_told_as_such(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package",))

    assert provenance.facts()["packages"] == {"no-such-package": None}
