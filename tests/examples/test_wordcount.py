"""The word count, as a person runs it: real processes, real sources, every total compared."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def wordcount(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / "wordcount.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.slow
def test_every_word_of_three_packages_is_counted_exactly():
    # 21 files, 14 thousand words, 2 thousand of them different: 3 s on two cores.
    ran = wordcount("--part", "json", "urllib", "wsgiref")

    assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), ran.stdout + ran.stderr
    counted, asked, verdict = ran.stdout.splitlines()
    assert " words of " in counted
    assert int(asked.split()[1].replace(",", "")) > 1_000
    assert verdict.startswith("✓ all ")
    assert verdict.endswith("totals are complete, and what collections.Counter says")


@pytest.mark.slow
def test_a_part_that_does_not_exist_is_refused_before_anything_starts():
    ran = wordcount("--part", "no_such_package")

    assert ran.returncode == 1
    assert "there is no no_such_package in " in ran.stderr


@pytest.mark.slow
def test_a_tracker_that_is_not_there_is_one_clear_line():
    ran = wordcount("--part", "json", "--tracker", "127.0.0.1:1")

    assert ran.returncode == 1
    assert ran.stderr.startswith("error: no tracker at 127.0.0.1:1")


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_every_word_of_the_whole_standard_library_is_counted_exactly():
    ran = wordcount()

    assert ran.returncode == 0, ran.stdout + ran.stderr
