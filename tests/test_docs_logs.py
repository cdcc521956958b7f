"""The pages about logs and reports against what is written: every line, every field, the plot.

The rule: a run is made in the simulator, and its log is what the pages are held to. The picture
in the documents is drawn by `make docs`; that its words are still true is checked always, its
bytes are not, which differ between versions of matplotlib.
"""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from counter.cli.app import run
from loadtest import cli, thresholds

ROOT = Path(__file__).parent.parent
RUN = "--virtual --nodes 100 --loss 3% --queries 40 --duration 4s --seed 4711"
PAGE, PICTURE = "docs/how-to/read-a-report.md", "docs/report.svg"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the run of the page; returns its log."""
    directory = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        assert run(RUN.split(), cli._dispatch) == 0
    (path,) = (directory / "logs").iterdir()
    return Path(path)


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def test_every_line_of_a_log_and_every_field_of_it_stands_on_the_page_of_logs(log: Path) -> None:
    shown = text_of("docs/reference/logs.md")
    named = set(re.findall(r"`(\w+)`", shown))
    *lines, _ = [json.loads(line) for line in log.read_text().splitlines()]

    kinds = {kind for line in lines for kind in line}
    fields = {name for line in lines for content in line.values() for name in content}

    assert kinds >= {"header", "run", "booted", "query", "rates", "check", "histogram"}
    assert (kinds | fields) - named == set()


def test_the_page_shows_the_command_of_the_run_that_its_plots_are_of() -> None:
    assert f"$ loadtest {RUN}\n" in text_of(PAGE)
    assert f"(../{PICTURE.removeprefix('docs/')})" in text_of(PAGE)


def test_the_plots_of_the_page_are_of_its_run(
    log: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("matplotlib")
    drawn = tmp_path / "report.svg"
    assert run(["report", str(log), "--svg", str(drawn)], cli._dispatch) == 0
    if request.config.getoption("--record"):
        (ROOT / PICTURE).write_text(drawn.read_text(encoding="utf-8"), encoding="utf-8")

    assert titles(drawn) == titles(ROOT / PICTURE)


def titles(picture: Path) -> list[str]:
    """Return the words of a picture that hold no number but of queries: titles, axes, names."""
    root = ElementTree.parse(picture).getroot()
    words = [node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text")]
    return [word for word in words if re.search(r"[A-Za-z]{3}", word)]


def test_every_name_of_a_threshold_stands_on_the_page_of_thresholds_and_no_other() -> None:
    shown = text_of("docs/reference/thresholds.md")
    rows = [line.split("|") for line in shown.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row[1])}
    named |= set(re.findall(r"`(reasons\.\w+)`", shown))

    assert named == {*thresholds.TIMES, *thresholds.NUMBERS}
