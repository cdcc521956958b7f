"""Settings, durations, names and addresses: what is taken, and how the rest is refused."""

import math

import pytest

from tracker.config import (
    MEMBERS_MAX,
    TrackerConfig,
    parse_duration,
    parse_endpoint,
    parse_name,
    shown_endpoint,
)
from tracker.errors import ConfigError


def test_the_defaults_make_sense_and_forget_nobody():
    assert TrackerConfig().forget_after_s is None


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"interval_s": 0.0}, "interval is 0 s"),
        ({"interval_s": math.nan}, "interval is nan s"),
        ({"interval_s": -1.0}, "interval is -1 s"),
        ({"suspect_after_s": 1.5}, "at least two intervals"),
        ({"suspect_after_s": math.nan}, "suspect-after is nan s"),
        ({"suspect_after_s": math.inf}, "suspect-after is inf s"),
        ({"dead_after_s": 0.0}, "dead-after is 0 s"),
        ({"forget_after_s": 1.0}, "forget-after is 1 s, needs 10 to 31536000 s"),
        ({"publish_gap_s": 2.0}, "publish-gap is 2 s"),
        ({"members_max": 0}, "members-max is 0"),
        ({"members_max": MEMBERS_MAX + 1}, "members-max is 100001"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if type(value) is dict else "",
)
def test_nonsense_is_refused_in_plain_words(setting, complaint):
    with pytest.raises(ConfigError, match=complaint):
        TrackerConfig(**setting)


def test_members_can_be_forgotten_after_a_day():
    assert TrackerConfig(forget_after_s=86_400.0).forget_after_s == 86_400.0


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("250ms", 0.25), ("2s", 2.0), ("1.5m", 90.0), ("24h", 86_400.0), ("0s", 0.0)],
)
def test_durations_are_read_as_people_write_them(written, seconds):
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", ["", "5", "s", "-1s", "1e3s", "nan s", "1 s", "½s", "٣s", "1.s", "9999999999s", "1d"]
)
def test_what_is_no_duration_is_refused(written):
    with pytest.raises(ConfigError, match="is not a duration"):
        parse_duration(written)


@pytest.mark.parametrize("name", ["n1", "0", "A.b_c-d", "x" * 64])
def test_names_are_letters_digits_dots_dashes_and_underscores(name):
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, "../x", ".x", "-x", "a b", "n\n1", "n1\n", "ü", "\N{GRINNING FACE}", "\x1b"],
)
def test_what_is_no_name_is_refused_printably(name):
    with pytest.raises(ConfigError, match="is not a node name") as caught:
        parse_name(name)

    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("written", "endpoint"),
    [
        ("127.0.0.1:7400", ("127.0.0.1", 7400)),
        ("tracker.example:1", ("tracker.example", 1)),
        ("[::1]:65535", ("::1", 65_535)),
    ],
)
def test_addresses_are_read_and_written_the_same_way(written, endpoint):
    assert parse_endpoint(written) == endpoint
    assert shown_endpoint(endpoint) == written


@pytest.mark.parametrize(
    "written",
    [
        *("", "7400", ":7400", "host:", "host:x", "host:-1", "host:0", "host:65536", "host:70000"),
        *("::1:7400", "host:\uff11", "host:000001", "host: 1"),
    ],
)
def test_what_is_no_address_is_refused(written):
    with pytest.raises(ConfigError, match=r"is not HOST:PORT|is out of range"):
        parse_endpoint(written)


def test_port_zero_is_taken_where_a_free_one_is_asked_for():
    assert parse_endpoint("127.0.0.1:0", port_min=0) == ("127.0.0.1", 0)
