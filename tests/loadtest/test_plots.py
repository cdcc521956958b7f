"""Plots: what is drawn can be read, is the same again, and holds no markup of others."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from loadtest import plots
from loadtest.plots import Band, Bars, Chart, Line, Mark
from tracker.errors import ConfigError

pytest.importorskip("matplotlib", reason="NO MATPLOTLIB: no plot is tested (extra `plot`)")


def make_chart(**fields):
    values = {
        "title": "queries", "x": "time (ms)", "y": "members heard (%)",
        "lines": [Line(name="median", points=[(0, 0), (1, 50), (2, 100)])],
    }  # fmt: skip
    return Chart(**{**values, **fields})


def words_of(text):
    """Return what a reader of the picture can read; raises ParseError for what is no XML."""
    root = ElementTree.fromstring(text)
    return [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.slow
def test_a_chart_has_its_title_its_axes_with_units_and_a_name_for_each_of_several_lines():
    lines = [Line(name=name, points=[(0, 1), (1, 2)]) for name in ("p50", "p99")]

    words = words_of(plots.svg(make_chart(lines=lines, marks=[Mark(at=0.5, label="crash 10%")])))

    assert {"queries", "time (ms)", "members heard (%)", "p50", "p99", "crash 10%"} <= set(words)


@pytest.mark.slow
def test_every_kind_of_chart_is_drawn_below_the_one_before():
    charts = [
        make_chart(title="one"),
        make_chart(title="two", lines=[], bands=[Band(name="b", points=[(0, 1, 2), (1, 3, 4)])]),
        make_chart(title="three", lines=[], blocks=[(1, 2, 10), (2, 4, 1)], log_x=True, log_y=True),
        make_chart(
            title="four",
            lines=[],
            labels=["a", "b"],
            bars=[Bars(name="x", heights=[1, 2], errors=[0.1, 0.2])],
        ),
        make_chart(title="five", lines=[Line(name="", points=[])]),
    ]

    words = words_of(plots.svg(*charts))

    titles = [word for word in words if word in ("one", "two", "three", "four", "five")]
    assert titles == ["one", "two", "three", "four", "five"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "label",
    ["<script>alert(1)</script>", "a & b", "$\\frac{", "$x^2$", "\x1b[2J", "\ud800", "日本", "]]>"],
)
def test_what_a_label_holds_is_text_whatever_it_looks_like(label):
    text = plots.svg(make_chart(title=label))

    assert plots.shown(label) in words_of(text)
    assert "<script" not in text


@pytest.mark.slow
def test_the_same_charts_give_the_same_text_in_another_process_with_other_settings(tmp_path):
    (tmp_path / "matplotlibrc").write_text("axes.titlepad: 40\nxtick.major.size: 20\n")
    program = (
        "import sys; from loadtest.plots import *;"
        "sys.stdout.write(svg(Chart(title='t', x='x', y='y',"
        " lines=[Line(name='a', points=[(0, 1), (2, 3)])], marks=[Mark(at=1, label='m')])))"
    )
    texts = [
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            cwd=where,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)},
        ).stdout
        for seed, where in (("1", "."), ("2", tmp_path))
    ]

    assert texts[0] == texts[1]
    assert texts[0].startswith("<svg")


@pytest.mark.slow
def test_a_dark_page_shows_it_dark_and_nothing_is_fetched_from_elsewhere():
    text = plots.svg(make_chart())

    assert "@media (prefers-color-scheme: dark)" in text
    for light in plots.DARK:
        assert f'style*="fill: {light}"' in text
    assert set(re.findall(r"https?://[^\"' ]+", text)) == {
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
    }


def test_of_too_many_points_the_least_and_the_greatest_of_each_stretch_stay():
    points = [(float(n), 0.0) for n in range(10_000)]
    points[5_003] = (5_003.0, 9.0)

    kept = plots.thinned(points, 100)

    assert len(kept) <= 100
    assert (5_003.0, 9.0) in kept
    assert kept == sorted(kept)
    assert plots.thinned(points[:5], 100) == points[:5]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"bars": [Bars(name="x", heights=[1.0])], "labels": ["a", "b"]}, "x: 1 bars for 2 labels"),
        ({"lines": [Line(name="a", points=[])] * 41}, "41 series in one chart, at most 40"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_plain_words(fields, words):
    with pytest.raises(ConfigError, match=words):
        make_chart(**fields)


def test_no_chart_and_too_many_are_refused():
    with pytest.raises(ConfigError, match="0 charts in one picture, needs 1 to 40"):
        plots.svg()


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(ConfigError, match=r"pip install 'gossip-counter\[plot\]'"):
        plots.svg(make_chart())


def test_words_of_things_that_happened_together_stand_beside_each_other():
    places = plots.columns([10.0, 11.0, 11.5, 200.0], 400.0)

    assert places == [13.0, 22.0, 31.0, 203.0]


def test_words_at_the_right_end_stay_in_the_chart_and_off_each_other():
    places = plots.columns([10.0, 398.0, 399.0], 400.0)

    assert places == [13.0, 382.0, 391.0]


def test_a_chart_in_which_nothing_happened_has_no_words():
    assert plots.columns([], 400.0) == []
