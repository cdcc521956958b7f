"""The library of scenarios: each holds, briefly in CI, over many seeds as a soak."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.scenarios import library
from loadtest.scenarios.judge import Judge
from loadtest.scenarios.play import play

ROOT = Path(__file__).parents[2]
NAMES = library.names()
BRIEF_SEED = 1
SOAK_SEEDS = 200


def faults_of(name, seeds, **options):
    judge = Judge(library.load(name, **options))
    for seed in seeds:
        play(judge.scenario, seed, judge)
    return [row for row in judge.checks() if not row["ok"]], judge.faults


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_must_hold_holds_in_a_scenario_of_the_library(name):
    failed, faults = faults_of(name, [BRIEF_SEED])

    assert failed == [], faults


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", NAMES)
def test_what_must_hold_holds_over_many_seeds(name):
    failed, faults = faults_of(name, range(SOAK_SEEDS))

    assert failed == [], faults


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", ["lossy", "crash-tenth", "join-storm", "one-way", "power-cut"])
def test_what_must_hold_holds_in_a_large_cluster(name):
    failed, faults = faults_of(name, range(5), nodes=500)

    assert failed == [], faults


def test_the_file_of_the_how_to_page_holds_what_it_expects(tmp_path):
    page = (ROOT / "docs" / "how-to" / "simulate-faults.md").read_text(encoding="utf-8")
    (content,) = re.findall(r"(?s)```toml\n(.*?)```", page)
    (tmp_path / "unplugged.toml").write_text(content)

    failed, faults = faults_of(str(tmp_path / "unplugged.toml"), [BRIEF_SEED])

    assert failed == [], faults


PROGRAM = "import sys; sys.path.insert(0, {root!r}); from loadtest.cli import main; main()"


@pytest.mark.slow
def test_a_seed_gives_the_same_report_to_the_byte_whatever_the_hash_seed(tmp_path):
    reports = []
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-c", PROGRAM.format(root=str(ROOT))]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [*command, "scenario", "flapping", "--seed", "7", "--nodes", "12", "--json"],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
        )
        reports.append(done.stdout)

    assert json.loads(reports[0])["ok"]
    assert reports[0] == reports[1]
