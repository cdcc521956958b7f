"""Where settings come from, and what is refused."""

from pathlib import Path

import pytest

from counter.cli.screens import CommandError
from counter.cli.settings import KNOWN, Settings, parse_until, shown_value


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_settings(**environment: str) -> Settings:
    return Settings({"XDG_CONFIG_HOME": "home", **environment})


def write_user_file(text: str) -> None:
    Path("home/counter").mkdir(parents=True, exist_ok=True)
    Path("home/counter/counter.toml").write_text(text)


def test_a_setting_nobody_sets_has_its_default():
    assert make_settings().lookup("tracker") == ((("127.0.0.1", 7400),), "default")


def test_flag_beats_environment_beats_local_file_beats_user_file():
    write_user_file('deadline = "1s"\npick = "random"\nchatter = 5\nname = "u"')
    Path("counter.toml").write_text('deadline = "2s"\npick = "round-robin"\nchatter = 6')
    settings = make_settings(COUNTER_DEADLINE="3s", COUNTER_PICK="least-active")

    found = [
        settings.lookup("deadline", "4s"),
        settings.lookup("pick"),
        settings.lookup("chatter"),
        settings.lookup("name"),
    ]

    assert found == [
        (4.0, "flag"),
        ("least-active", "COUNTER_PICK"),
        (6, "./counter.toml"),
        ("u", "home/counter/counter.toml"),
    ]


def test_several_trackers_are_written_with_commas_or_as_a_list():
    Path("counter.toml").write_text('tracker = ["10.0.0.1:7400", "[::1]:7401"]')

    from_file = make_settings().get("tracker")
    from_environment = make_settings(COUNTER_TRACKER="10.0.0.1:7400,[::1]:7401").get("tracker")

    assert from_file == from_environment == (("10.0.0.1", 7400), ("::1", 7401))


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    Path("counter.toml").write_text("chater = 3")

    with pytest.raises(CommandError, match='unknown setting "chater"') as caught:
        make_settings()

    assert caught.value.hints == ("did you mean chatter?",)
    assert caught.value.code == 2


def test_bad_toml_is_refused_with_line_and_column():
    Path("counter.toml").write_text("chatter = 3\nname = \n")

    with pytest.raises(CommandError, match=r"line 2, column \d+"):
        make_settings()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("chatter = 0", "is 0, needs 1 to 64", id="zero"),
        pytest.param("chatter = -1", "is -1, needs 1 to 64", id="negative"),
        pytest.param("chatter = 1000000", "needs 1 to 64", id="a million"),
        pytest.param("chatter = nan", "wants a whole number", id="not a number"),
        pytest.param('chatter = "3"', "wants a whole number without quotes", id="quoted"),
        pytest.param("chatter = true", "wants a whole number", id="truth"),
        pytest.param("chatter = 3.0", "wants a whole number", id="fraction"),
        pytest.param("chatter = [3]", "wants a whole number", id="list"),
        pytest.param("deadline = 3", "wants a text in quotes", id="bare duration"),
        pytest.param('deadline = "0ms"', "needs 1ms", id="no time at all"),
        pytest.param('deadline = "-1s"', "not a duration", id="negative duration"),
        pytest.param('interval = "2h"', "needs 50ms to 60s", id="long interval"),
        pytest.param('pick = "best"', "needs one of least-active", id="unknown choice"),
        pytest.param('memory = "yes"', "wants true or false", id="quoted truth"),
        pytest.param('name = "../x"', "not a node name", id="path as name"),
        pytest.param("tracker = []", "names 0 addresses", id="no tracker"),
        pytest.param('tracker = "host:70000"', "out of range", id="port too large"),
        pytest.param('until = "5"', "needs all, a share", id="until a number"),
        pytest.param('data = ""', "needs a directory", id="empty path"),
        pytest.param("[tracker]\nport = 3", "wants a text", id="table"),
    ],
)
def test_senseless_values_in_a_file_are_refused(line, said):
    Path("counter.toml").write_text(line)

    with pytest.raises(CommandError, match=r"counter\.toml") as caught:
        make_settings()

    assert said in str(caught.value)
    assert caught.value.code == 2


def test_a_file_that_is_not_utf8_is_refused():
    Path("counter.toml").write_bytes(b'name = "\xff"')

    with pytest.raises(CommandError, match="not UTF-8"):
        make_settings()


def test_a_directory_in_place_of_a_file_is_refused():
    Path("counter.toml").mkdir()

    with pytest.raises(CommandError, match="is a directory"):
        make_settings()


def test_a_senseless_variable_is_refused_by_its_name():
    with pytest.raises(CommandError, match=r"COUNTER_CHATTER is 0, needs 1 to 64"):
        make_settings(COUNTER_CHATTER="0").get("chatter")


def test_an_empty_variable_is_no_setting():
    assert make_settings(COUNTER_NODE="").lookup("node") == (None, "default")


@pytest.mark.parametrize(("written", "meant"), [("1", True), ("false", False), ("YES", True)])
def test_a_variable_can_say_yes_and_no(written, meant):
    assert make_settings(COUNTER_MEMORY=written).get("memory") is meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("all", ("all", 0)), ("95%", ("share", 950)), ("99.5%", ("share", 995)),
     ("stable:200ms", ("stable", 200))],
)  # fmt: skip
def test_until_is_all_or_a_share_or_a_quiet_time(written, meant):
    assert parse_until(written) == meant
    assert shown_value("until", meant) == written


@pytest.mark.parametrize("written", ["0%", "101%", "95", "stable", "stable:0ms", "", "ALL"])
def test_until_refuses_the_rest(written):
    with pytest.raises(CommandError, match="--until"):
        make_settings().get("until", written)


def test_every_default_is_a_value_that_could_be_written():
    for setting in KNOWN.values():
        if setting.default is not None and not isinstance(setting.default, bool):
            written = shown_value(setting.name, setting.default)
            assert setting.parse(written) == setting.default, setting.name
