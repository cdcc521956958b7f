"""The file of a scenario: what it may say, and how nonsense is refused, with its place."""

import re
from importlib import resources
from random import Random

import pytest

from counter.config import LAN, LOCAL, WAN
from counter.messages import UNTIL_SHARE, UNTIL_STABLE
from loadtest.scenarios import library, tables
from loadtest.scenarios.fields import Who
from loadtest.scenarios.format import TABLES_MAX, parse
from loadtest.simulation.bursts import Bursts
from tracker.errors import ConfigError

SMALLEST = 'about = "x"\nduration = "1s"\n'


def read(text, **options):
    return parse(text, "test", "some.toml", **options)


def test_a_file_needs_no_more_than_what_it_shows_and_how_long_it_lasts():
    scenario = read(SMALLEST)

    assert (scenario.about, scenario.duration_s, scenario.nodes) == ("x", 1.0, 20)
    assert (scenario.writers, scenario.queries, scenario.events) == ((), (), ())
    assert scenario.network == tables.Weather()


def test_every_table_is_read_with_its_units():
    scenario = read(
        """
        about = "all of it"
        nodes = 12
        trackers = 2
        duration = "1m"
        [network]
        loss = "2.5%"
        bursts = { every = "2s", last = "100ms", loss = "80%" }
        [[writers]]
        who = ["n1", "n3-n5"]
        rate = 12.5
        [[queries]]
        who = "25%"
        until = "95%"
        [[queries]]
        until = "stable:200ms"
        [[events]]
        do = "partition"
        at = "1s"
        who = "n1-n2, t1"
        to = "n3"
        one_way = true
        until = "2500ms"
        [expect]
        end = "converged"
        missing = "n7"
        """
    )

    network = scenario.network.network
    assert (network.loss, network.bursts) == (0.025, Bursts(good_s=2.0, bad_s=0.1, loss=0.8))
    assert scenario.writers[0].who == Who(names=("n1", "n3", "n4", "n5"))
    assert [q.until for q in scenario.queries] == [(UNTIL_SHARE, 950), (UNTIL_STABLE, 200)]
    assert scenario.queries[0].who == Who(share=0.25)
    (event,) = scenario.events
    assert isinstance(event, tables.Cut)
    assert (event.who.names, event.to, event.one_way) == (("n1", "n2", "t1"), Who(("n3",)), True)
    assert (event.at_s, event.until_s, scenario.changed_s) == (1.0, 2.5, 2.5)
    assert (scenario.expect.end, scenario.expect.missing.names) == ("converged", ("n7",))


@pytest.mark.parametrize(
    ("latency", "preset"), [("0.1ms", LOCAL), ("8ms", LAN), ("80ms", WAN)], ids=str
)
def test_nodes_take_the_preset_of_the_latency(latency, preset):
    scenario = read(f'{SMALLEST}chatter = 3\n[network]\nlatency = "{latency}"\njitter = "1ms"\n')

    assert (scenario.gossip.hop_s, scenario.gossip.chatter) == (preset.hop_s, 3)


def test_the_number_of_nodes_may_be_another_one():
    assert read(SMALLEST, nodes=300).nodes == 300


def test_weather_that_changes_keeps_what_it_does_not_name():
    scenario = read(
        f'{SMALLEST}[network]\nlatency = "20ms"\n'
        '[[events]]\ndo = "weather"\nat = "1s"\nloss = "50%"\n'
    )

    (event,) = scenario.events
    assert isinstance(event, tables.Change)
    changed = event.applied(scenario.network)
    assert (changed.loss, changed.latency_s) == (0.5, 0.020)


REFUSALS = [
    ("about = 5", 'some.toml:1: about: "5" is not a line of text'),
    ('duration = "1s"', "some.toml:1: about is missing (what it shows, in one line)"),
    ('about = "x"\nduration = 3', 'some.toml:2: duration: "3" is not a time; write it with its'),
    ('about = "x"\nduration = "3"', 'some.toml:2: duration: "3" is not a duration (250ms, 2s, 1m)'),
    ('about = "x"\nduration = "2h"', 'some.toml:2: duration: "2h" is out of range, needs 0.1s'),
    (f"{SMALLEST}nodse = 5", 'some.toml:3: "nodse" is not known; did you mean nodes?'),
    (f"{SMALLEST}nodes = 0", "some.toml:3: nodes: 0 is out of range, needs 1 to 20000"),
    (f'{SMALLEST}nodes = "5"', 'some.toml:3: nodes: "5" is not a whole number'),
    (f"{SMALLEST}nodes = true", 'some.toml:3: nodes: "True" is not a whole number'),
    (f"{SMALLEST}durable = 1", 'some.toml:3: durable: "1" is neither true nor false'),
    (f"{SMALLEST}[network]\nloss = 0.05", 'some.toml:4: [network] loss: "0.05" is not a share'),
    (f'{SMALLEST}[network]\nloss = "100%"', 'some.toml:4: [network] loss: "100%" is out of range'),
    (f"{SMALLEST}network = 1", "some.toml:3: network is a table: [network]"),
    (f"{SMALLEST}[writers]", "some.toml:1: writers may be several: write [[writers]]"),
    (f"{SMALLEST}[[writers]]\nrate = nan", 'some.toml:4: [[writers]] rate: "nan" is not a number'),
    (f"{SMALLEST}[[writers]]\nrate = 0", "some.toml:4: [[writers]] rate: 0 is out of range"),
    (
        f'{SMALLEST}[network]\nbursts = "often"',
        'some.toml:4: [network] bursts: "often" is not { every = "2s", last = "200ms" }',
    ),
    (
        f'{SMALLEST}[network]\nbursts = {{ every = "2s", lasts = "1s" }}',
        'some.toml:4: [network] bursts: "lasts" is not known; did you mean last?',
    ),
    (f'{SMALLEST}[[events]]\nat = "1s"', "some.toml:3: [[events]] do is missing (crash, restart"),
    (
        f'{SMALLEST}[[events]]\ndo = "crush"\nat = "1s"\nwho = "n1"',
        'some.toml:4: [[events]] nothing is called "crush"; did you mean crash?',
    ),
    (f"{SMALLEST}[[events]]\ndo = 5", 'some.toml:4: [[events]] nothing is called "5"'),
    (
        f'{SMALLEST}[[events]]\ndo = "crash"\nat = "1s"\nwho = "n1"\n'
        '[[events]]\ndo = "pause"\nwho = "n1"',
        "some.toml:7: [[events]] at is missing (when)",
    ),
    (
        f'{SMALLEST}[[events]]\ndo = "pause"\nat = "2s"\nwho = "n1"\nuntil = "1s"',
        "some.toml:7: [[events]] until is before at",
    ),
    (
        f'{SMALLEST}[[events]]\ndo = "crash"\nat = "2s"\nwho = "n21"',
        "some.toml:6: [[events]] n21 is nobody: there are 20 nodes",
    ),
    (
        f'{SMALLEST}[[events]]\ndo = "crash"\nat = "2s"\nwho = "t2"',
        "some.toml:6: [[events]] t2 is nobody: there are 1 trackers",
    ),
    (f'{SMALLEST}[[queries]]\nwho = "n5-n3"', "some.toml:4: [[queries]] who: n5-n3 is no range"),
    (f"{SMALLEST}[[queries]]\nwho = []", 'some.toml:4: [[queries]] who: "[]" names nobody'),
    (f'{SMALLEST}[[queries]]\nwho = "x1"', 'some.toml:4: [[queries]] who: "x1" is nobody'),
    (f'{SMALLEST}[[queries]]\nwho = "tracker"', "did you mean trackers?"),
    (f'{SMALLEST}[[queries]]\nwho = "everybody"', 'some.toml:4: [[queries]] who: "everybody" is'),
    (f'{SMALLEST}[[queries]]\nuntil = "half"', 'some.toml:4: [[queries]] until: "half" is none of'),
    (f'{SMALLEST}[[queries]]\nuntil = "0%"', 'some.toml:4: [[queries]] until: "0%" is none of'),
    (f'{SMALLEST}[[queries]]\nuntil = "0.04%"', '[[queries]] until: "0.04%" is none of'),
    (f'{SMALLEST}[[queries]]\nuntil = "stable:0ms"', 'until: "stable:0ms" is none of'),
    (f'{SMALLEST}[[queries]]\nkey = "a\\u001bb"', "holds what a terminal would obey"),
    (
        'about = "x"\nduration = "1h"\n[[queries]]\nevery = "1ms"',
        "some.toml:4: [[queries]] more than 10000 queries",
    ),
    (
        f'{SMALLEST}[[events]]\ndo = "lie"\nat = "1s"\nhow = "name"\nwho = "n1, t1"',
        "some.toml:7: [[events]] who: t1 will not do: it takes nodes",
    ),
    (f'{SMALLEST}[[queries]]\nwho = "trackers"', "[[queries]] who: trackers will not do"),
    (
        f'{SMALLEST}[[events]]\ndo = "restart"\nat = "1s"\nwho = "t1"\nmoved = true',
        "some.toml:7: [[events]] a tracker cannot move",
    ),
    (
        f'{SMALLEST}[[events]]\ndo = "restart"\nat = "1s"\nwho = "n1"\ndisk = "backup"\n'
        '[[events]]\ndo = "backup"\nat = "1s"\nwho = "n1"',
        "some.toml:7: [[events]] no backup is made before",
    ),
    (
        f'{SMALLEST}[expect]\nmissing = "n3"',
        "some.toml:4: [expect] who is missing is named, and the end is to be complete",
    ),
    (f'{SMALLEST}[expect]\nend = "well"', 'some.toml:4: [expect] end: "well" is none of complete'),
    (
        f'{SMALLEST}nodes = 20000\n[[events]]\ndo = "join"\nat = "0s"\ncount = 1',
        "some.toml: 20001 nodes in all, at most 20000",
    ),
    (f"{SMALLEST}{'[[queries]]' * 1}\n" + "[[queries]]\n" * TABLES_MAX, "101 queries, at most 100"),
    ("about = ", "some.toml: not TOML: "),
    ("#" * 200_001, "some.toml: longer than 200000 characters"),
]


@pytest.mark.parametrize(("text", "words"), REFUSALS, ids=[words[:60] for _, words in REFUSALS])
def test_nonsense_is_refused_in_plain_words_with_its_line_and_field(text, words):
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        read(text)

    assert "\n" not in str(caught.value)


def test_whatever_a_damaged_file_holds_it_is_read_or_refused_in_plain_words():
    dice = Random("4711/damage")
    names = [name for name in library.names() for _ in range(5)]
    refused = []
    for name in names:
        text = _source_of(name)
        place = dice.randrange(len(text))
        damaged = text[:place] + dice.choice('[]{}="n%s\x00\n9-.') + text[place + 1 :]
        try:
            read(damaged)
        except ConfigError as error:
            refused.append(str(error))

    assert len(refused) > len(names) / 4
    assert [text for text in refused if not text.startswith("some.toml")] == []


def _source_of(name):
    return resources.files("loadtest.scenarios").joinpath(f"{name}.toml").read_text("utf-8")


# -- the library ----------------------------------------------------------------------------


def test_the_library_shows_each_fault_in_a_line_that_fits_a_screen():
    scenarios = [library.load(name) for name in library.names()]

    assert len(scenarios) >= 20
    assert [s.name for s in scenarios if len(s.about) > 95 or s.about[-1] != "."] == []


def test_every_kind_of_event_happens_in_the_library():
    used = {event.do for name in library.names() for event in library.load(name).events}

    assert set(tables.EVENTS) - used == set()


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match='no scenario is called "clam"; did you mean calm'):
        library.load("clam")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read .*nowhere.toml: no such file"),
        (b"about = \xff", "is not text in UTF-8 \\(byte 8\\)"),
        (b'about = "x"', "nowhere.toml:1: duration is missing"),
    ],
    ids=["missing", "not UTF-8", "incomplete"],
)
def test_a_file_that_cannot_be_used_is_refused_by_its_path(tmp_path, content, words):
    path = tmp_path / "nowhere.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=words):
        library.load(str(path))
