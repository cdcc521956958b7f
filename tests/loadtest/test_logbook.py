"""A log read again: whole, cut anywhere, or of somebody who means no good."""

import json

import pytest

from loadtest import logbook, report, virtual
from loadtest.latency import Histogram
from loadtest.plan import Plan
from loadtest.report import RunLog
from loadtest.runs import Run
from loadtest.timeline import Act
from tracker.errors import ConfigError

PLAN = Plan(nodes=12, seed=5, duration_s=2.5, queries=5, writers=4, rate=200.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Run a plan in the simulator, with its log; returns the lines of that."""
    directory = tmp_path_factory.mktemp("logs")
    with RunLog(directory, PLAN.situation("virtual")) as log:
        log.write({"run": {"repeat": "loadtest --nodes 12"}})
        run = Run(PLAN, log=log)
        virtual.run(run)
        run.acted(Act(at_s=1.0, kind="crash", names=("n1", "n2")))
        checks = run.checks()
        for line in report.last_lines(run.writes, checks):
            log.write(line)
        log.write(
            report.summary(
                PLAN.situation("virtual"), run.writes, run.queries, checks,
                boot_s=run.boot_s, cpu_s=1.0, rss_mb=9.0,
            )
        )  # fmt: skip
    return log.path.read_text()


@pytest.fixture
def book(tmp_path):
    """Return what is read from a file with this text."""

    def call(text):
        path = tmp_path / "log.jsonl"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return logbook.read(str(path))

    return call


def test_a_whole_log_holds_the_summary_and_all_that_led_to_it(written, book):
    found = book(written)

    assert not found.is_cut
    assert found.broken == 0
    assert found.result() == json.loads(written.splitlines()[-1])
    assert len(found.queries) == found.result()["queries"]["count"] == 5
    # A run looks at its clock between other things: a period is as long as it was.
    assert [round(rate["at_s"], 1) for rate in found.rates] == [1.0, 2.0, 2.5]
    assert found.rates[-1]["acked"] == found.result()["writes"]["acked"]
    assert found.happenings[0]["names"] == ["n1", "n2"]
    assert found.run["repeat"] == "loadtest --nodes 12"


def test_the_histogram_of_a_log_gives_the_percentiles_of_its_summary(written, book):
    found = book(written)
    told = found.result()["writes"]["latency_us"]

    assert found.increments.count == found.result()["writes"]["acked"]
    for name, value in found.increments.percentiles().items():
        assert value == pytest.approx(told[name], rel=0.005)


def test_the_sums_over_the_queries_of_a_cut_log_are_those_of_its_summary(written, book):
    lines = written.splitlines(keepends=True)
    cut = book("".join(lines[:-1])).result()
    whole = json.loads(lines[-1])

    assert cut["cut"] is True
    assert cut["queries"] == whole["queries"]
    assert cut["writes"]["acked"] == whole["writes"]["acked"]
    assert cut["checks"] == []
    assert "lost" not in cut["writes"]


def test_a_log_cut_at_any_byte_is_read_and_called_cut(written, book):
    first = len("".join(written.splitlines(keepends=True)[:3]))
    # Without its line break the summary is whole.
    for length in range(first, len(written) - 1, 97):
        found = book(written[:length])
        assert found.is_cut
        assert found.broken <= 1
        assert found.result()["cut"] is True
    assert not book(written[:-1]).is_cut


@pytest.mark.parametrize(
    "line",
    [
        "}{", "[1]", "7", "\x00\xff", '{"query": 3}', '{"query": {"key": "k"}}', "[" * 100_000,
        '{"rates": {"at_s": "soon", "acked": 1, "acked_per_s": 1}}', '{"happening": {"what": 5}}',
        '{"rates": {"at_s": -1, "acked": 1, "acked_per_s": 1}}', '{"booted": {"boot_s": "x"}}',
        '{"rates": {"at_s": NaN, "acked": 1, "acked_per_s": 1}}',
        '{"histogram": {"of": "inc", "samples": [[1, 2, 3]], "max": 1}}',
        '{"histogram": {"of": "inc", "samples": [[1, -2]], "max": 1}}',
        '{"histogram": {"of": "inc", "samples": [["x", 1]], "max": 1}}',
        '{"histogram": {"of": "inc", "samples": [], "max": null}}', '{"histogram": {"of": 1}}',
        '{"query": {"key": "k", "origin": "n", "reason": "complete", "value": 1, "coverage": "all",'
        ' "stop_ms": 1}}',
        '{"query": {"key": "k", "origin": "n", "reason": "complete", "value": 1, "coverage": 1,'
        ' "stop_ms": 1, "heard_ms": [1]}}',
    ],
)  # fmt: skip
def test_a_line_that_makes_no_sense_is_counted_and_the_rest_is_read(written, book, line):
    lines = written.splitlines(keepends=True)
    found = book("".join([*lines[:4], line + "\n", *lines[4:]]))

    assert found.broken == 1
    assert not found.is_cut
    assert len(found.queries) == 5


def test_a_line_of_a_kind_that_is_not_known_is_no_fault(written, book):
    assert book(written + '{"weather": {"wind": 3}}\n').broken == 0


def test_what_json_printed_is_a_summary_alone_however_it_is_laid_out(written, book):
    summary = json.loads(written.splitlines()[-1])

    for text in (json.dumps(summary), json.dumps(summary, indent=2)):
        found = book(text)
        assert found.result() == summary
        assert (found.queries, found.broken) == ([], 0)


@pytest.mark.parametrize(
    "text", ["", "hello\n", "[1, 2]", '{"a": 1}', b"\xff\xfe\x00", '{"header": {"nodes": 0}}']
)
def test_what_is_no_log_is_refused(book, text):
    with pytest.raises(ConfigError, match="holds no run report"):
        book(text).result()


def test_of_a_run_that_ended_before_all_nodes_were_up_nothing_is_told(written, book):
    two = "".join(written.splitlines(keepends=True)[:2])

    with pytest.raises(ConfigError, match="ended before all nodes were up"):
        book(two).result()


def test_a_header_that_lacks_what_a_run_is_is_refused(book):
    with pytest.raises(ConfigError, match="is no header of a run"):
        book('{"header": {"nodes": 5}}\n').result()


def test_what_cannot_be_read_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ConfigError, match="no such file or directory"):
        logbook.read(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="is a directory"):
        logbook.read(str(tmp_path))


def test_a_file_that_is_too_large_is_refused_unread(monkeypatch, book):
    monkeypatch.setattr(logbook, "LOG_BYTES_MAX", 10)

    with pytest.raises(ConfigError, match="has more than 10 bytes"):
        book('{"header": {"nodes": 5}}\n')


def test_lines_past_the_limit_are_counted_as_not_read(monkeypatch, written, book):
    monkeypatch.setattr(logbook, "RECORDS_MAX", 5)

    assert book(written).broken == len(written.splitlines()) - 5


def test_the_samples_of_a_histogram_are_those_it_was_given():
    histogram = Histogram([1.0, 1.0, 50.0])

    (first, often), (last, once) = histogram.samples()
    assert (often, once) == (2, 1)
    assert first == pytest.approx(1.0, rel=0.005)
    assert last == pytest.approx(50.0, rel=0.005)
