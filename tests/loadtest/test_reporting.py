"""`loadtest report` as a person runs it: from whole logs, cut ones, and ones that mean no good."""

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from counter.cli import screens
from counter.cli.app import run
from loadtest import cli

SMALL = (
    "--virtual", "--nodes", "12", "--queries", "5", "--duration", "2500ms", "--writers", "3",
    "--rate", "100", "--seed", "4",
)  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Run a small plan in the simulator; returns its log, the same for all tests here."""
    directory = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        assert run(SMALL, cli._dispatch) == 0
    (path,) = (directory / "logs").iterdir()
    return path


@pytest.fixture
def terminal(monkeypatch):
    """Make stdout a terminal of so many columns."""

    def call(columns):
        size = shutil.os.terminal_size((columns, 24))
        monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: size)
        monkeypatch.setattr(screens, "on_terminal", lambda: True)

    return call


class Page(HTMLParser):
    """The tags and words of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data.strip())


def test_a_log_tells_the_table_of_its_run_again(loadtest, log, tmp_path):
    code, out, err = loadtest("report", log)

    assert (code, err) == (0, "")
    assert out.startswith("nodes    ━━━━━━━━━━━━━━━━━━━━ 12/12 up")
    assert "✓ every acknowledged increment is in the final total" in out
    assert "repeat: loadtest --nodes 12 --virtual" in out
    assert list(tmp_path.iterdir()) == []


def test_as_json_it_is_the_summary(loadtest, log):
    _, out, _ = loadtest("report", log, "--json")

    assert json.loads(out) == json.loads(log.read_text().splitlines()[-1])


def test_of_a_cut_log_all_is_told_that_was_seen_and_that_nothing_was_checked(
    loadtest, log, tmp_path
):
    lines = log.read_text().splitlines(keepends=True)
    whole = [n for n, line in enumerate(lines) if line.startswith('{"query"')][2]
    (tmp_path / "cut.jsonl").write_text("".join(lines[: whole + 1]) + lines[whole + 1][:9])

    code, out, err = loadtest("report", "cut.jsonl")

    assert code == 0
    assert "queries  ━━━━━━━━━━━━━━━━━━━━ 3/3" in out
    assert "checks   none were made: the log is cut" in out
    assert "✓" not in out
    assert "lost" not in out
    assert err == (
        "note: this log is cut, its summary is missing: 3 queries seen, nothing was checked\n"
        "note: 1 of its lines could not be read\n"
    )


def test_a_run_that_was_interrupted_is_told_to_be(loadtest, log, tmp_path):
    *lines, last = log.read_text().splitlines()
    text = json.dumps({**json.loads(last), "interrupted": True})
    (tmp_path / "short.jsonl").write_text("\n".join([*lines, text]))

    assert loadtest("report", "short.jsonl")[2] == "note: this run was ended by Ctrl-C\n"


@pytest.mark.parametrize("columns", [10, 24, 40, 80, 120])
def test_a_terminal_gets_pictures_beside_the_table_and_no_line_is_too_wide(
    loadtest, log, terminal, columns
):
    terminal(columns)
    code, out, _ = loadtest("report", log)

    lines = out.splitlines()
    assert code == 0
    commands = [line for line in lines if line.startswith("repeat: loadtest --nodes 12 --virtual")]
    assert len(commands) == 1
    assert max(len(line) for line in lines if line not in commands) <= columns
    assert ("members heard" in out) == (columns >= 24)
    assert "✓" in out


@pytest.mark.slow
def test_the_page_is_one_file_without_scripts_that_holds_table_plots_and_machine(
    loadtest, log, tmp_path
):
    pytest.importorskip("matplotlib")
    code, out, err = loadtest("report", log, "--html", "page.html")

    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert (code, out, err) == (0, "", "wrote page.html\n")
    assert names.count("svg") >= 6
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert not re.findall(r"(?:href|src)=\"(?!#)", text)
    assert not re.findall(r"url\((?!#)", text)
    assert "prefers-color-scheme: dark" in text
    assert any("every acknowledged increment" in word for word in page.words)
    assert "kernel" in page.words


@pytest.mark.slow
def test_the_picture_has_all_plots_and_is_the_same_again(loadtest, log, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        assert loadtest("report", log, "--svg", name)[0] == 0

    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    words = [node.text for node in ElementTree.fromstring(text).iter() if node.text]
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    for title in (
        "Members heard, over the time of a query (5 queries)",
        "Latency at each percentile",
        "Increments acknowledged",
        "Queries, over the time they were asked at",
    ):
        assert title in words


@pytest.mark.slow
def test_what_was_done_to_the_cluster_stands_in_the_plots_as_text(loadtest, log, tmp_path):
    pytest.importorskip("matplotlib")
    evil = '<script>alert("x")</script>\x1b[2J'
    lines = log.read_text().splitlines(keepends=True)
    happening = {"happening": {"at_s": 1.0, "what": evil, "count": 1, "names": ["n1"]}}
    run_line = {"run": {"version": evil, "packages": {evil: evil}, "repeat": evil}}
    lines[1:2] = [json.dumps(run_line) + "\n", json.dumps(happening) + "\n"]
    (tmp_path / "evil.jsonl").write_text("".join(lines))

    assert loadtest("report", "evil.jsonl", "--html", "p.html", "--svg", "p.svg")[0] == 0
    _, table, _ = loadtest("report", "evil.jsonl")

    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    picture = (tmp_path / "p.svg").read_text(encoding="utf-8")
    assert "script" not in [tag for tag, _ in Page(text).tags]
    assert "<script" not in text + picture
    assert any("alert" in (node.text or "") for node in ElementTree.fromstring(picture).iter())
    assert "\x1b" not in text + picture + table


def test_without_matplotlib_one_line_says_what_to_install_and_the_table_needs_none(
    loadtest, log, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    code, out, err = loadtest("report", log, "--svg", "p.svg")

    assert (code, out) == (2, "")
    assert "a plot needs matplotlib, which is missing: pip install 'gossip-counter[plot]'" in err
    assert not (tmp_path / "p.svg").exists()
    assert loadtest("report", log)[0] == 0


def test_the_log_of_a_scenario_is_reported_as_scenarios_are(loadtest, tmp_path):
    (tmp_path / "small.toml").write_text(
        'about = "small"\nnodes = 5\nduration = "1s"\n[[writers]]\n[[queries]]\n'
    )
    code, printed, _ = loadtest("scenario", "small.toml", "--seed", "4")
    (path,) = (tmp_path / "logs").iterdir()

    again, out, err = loadtest("report", path)

    assert (code, again, err) == (0, 0, "")
    assert out.splitlines()[:-2] == printed.splitlines()[:-2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report"], "Missing argument"),
        (["report", "nowhere"], "cannot read nowhere: no such file or directory"),
        (["report", "."], "cannot read .: is a directory"),
        (["report", "text"], "text holds no run report"),
        (["report", "odd"], "the summary in odd is not one that this version writes"),
        (["report", "alone", "--svg", "x.svg"], "alone holds a summary alone: nothing to plot"),
        (["report", "alone", "--html", "nowhere/x"], "cannot write nowhere/x: no such file"),
        (["report", "alone", "--html", "alone"], "alone is the log itself"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(loadtest, log, tmp_path, arguments, words):
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "odd").write_text('{"checks": 5, "queries": [], "writes": "x", "nodes": null}')
    (tmp_path / "alone").write_text(log.read_text().splitlines()[-1])

    code, out, err = loadtest(*arguments)

    assert code in (1, 2)
    assert words in err.splitlines()[0]
    assert out == ""
