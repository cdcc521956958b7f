"""`loadtest scenario`, `scenarios` and `compare A B` as a person runs them."""

import json

import pytest

from loadtest.scenarios import library, play

SMALL = """
about = "small"
nodes = 5
duration = "1s"
[[writers]]
[[queries]]
"""


@pytest.fixture(autouse=True)
def _small(tmp_path, empty_directory):
    (tmp_path / "small.toml").write_text(SMALL)


# -- scenario -------------------------------------------------------------------------------


def test_a_file_is_played_and_its_report_is_the_last_line_of_stdout_and_log(loadtest, tmp_path):
    code, out, err = loadtest("scenario", "small.toml", "--seed", "4", "--seeds", "2", "--json")

    (log,) = (tmp_path / "logs").iterdir()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert log.name == "loadtest-scenario-small-5-4.jsonl"
    assert lines[-1] == result
    assert [next(iter(line)) for line in lines[:2]] == ["header", "run"]
    assert [line["seed"] for line in lines[2:-1]] == [4, 4, 5, 5]
    assert (result["scenario"], result["seed"], result["seeds"], result["ok"]) == (
        "small", 4, 2, True,
    )  # fmt: skip


def test_a_person_reads_a_table_with_the_command_that_repeats_it(loadtest):
    code, out, _ = loadtest("scenario", "small.toml", "--seed", "4", "--nodes", "3")

    assert code == 0
    assert out.startswith("scenario small   3 nodes   1 seed from 4   ")
    assert "✓ exact in the end (2 = 2)" in out
    assert out.endswith("\nrepeat: loadtest scenario small.toml --seed 4 --nodes 3\n")


def test_the_trace_of_a_seed_holds_every_message_and_is_the_same_again(loadtest, tmp_path):
    for _ in range(2):
        assert loadtest("scenario", "small.toml", "--seed", "4", "--trace")[0] == 0

    first, second = sorted((tmp_path / "logs").glob("*.trace"))
    lines = first.read_text().splitlines()
    assert first.read_text() == second.read_text()
    assert sum(" datagram 10." in line and "Reply(" in line for line in lines) > 10


def test_a_file_may_name_its_seed_and_the_flag_wins(loadtest, tmp_path):
    (tmp_path / "seeded.toml").write_text(f"seed = 12{SMALL}")

    seeds = [
        json.loads(loadtest("scenario", "seeded.toml", "--json", *more)[1])["seed"]
        for more in ([], ["--seed", "5"])
    ]

    assert seeds == [12, 5]


def test_a_scenario_of_the_library_is_played_by_its_name(loadtest):
    code, out, _ = loadtest("scenario", "calm", "--nodes", "4", "--json")

    assert code == 0
    assert json.loads(out)["scenario"] == "calm"


def test_what_does_not_hold_is_named_with_its_fault_and_ends_with_99(loadtest, tmp_path):
    (tmp_path / "dead.toml").write_text(
        f"{SMALL}[[events]]\ndo = 'crash'\nat = '0s'\nwho = 'n2'\n[expect]\nexact_within = '1s'\n"
    )

    code, out, err = loadtest("scenario", "dead.toml", "--seed", "1")

    assert code == 99
    assert "✗ exact in the end (2 ≠ 0)" in out
    assert "fault    seed 1, " in out
    assert err == "failed: exact in the end (0 of 2)\n"


def test_ctrl_c_reports_the_seeds_that_are_through_and_ends_with_130(loadtest, monkeypatch):
    played, real = [], play.play

    def interrupted(scenario, seed, judge, log, **options):
        if played:
            raise KeyboardInterrupt
        played.append(seed)
        return real(scenario, seed, judge, log, **options)

    monkeypatch.setattr(play, "play", interrupted)

    code, out, err = loadtest("scenario", "small.toml", "--seeds", "3", "--json")

    assert code == 130
    assert err == "interrupted: 1 of 3 seeds are through\n"
    assert (json.loads(out)["seeds"], json.loads(out)["interrupted"]) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("scenario", "Missing argument"),
        ("scenario clam", 'no scenario is called "clam"; did you mean calm?'),
        ("scenario nowhere.toml", "cannot read nowhere.toml: no such file or directory"),
        ("scenario bad.toml", 'bad.toml:2: "nodse" is not known; did you mean nodes?'),
        ("scenario calm --seed x", '--seed: "x" is no whole number'),
        ("scenario calm --seed -1", "--seed is -1, needs 0 to"),
        ("scenario calm --seeds 2 --trace", "--trace takes one seed: leave out --seeds"),
        ("scenario calm --seeds 0", "--seeds is 0, needs 1 to 100000"),
        ("scenario calm --nodes 0", "nodes: 0 is out of range, needs 1 to 20000"),
        ("scenario old-backup --nodes 2", "n3 is nobody: there are 2 nodes"),
        ("compare a.json", "compare takes two files, or none"),
        ("compare --within 5%", "compare takes two files, or none"),
        ("compare a.json a.json --seed 3", "--seed is of strategies, not of two files"),
        ("compare a.json nowhere.json", "cannot read nowhere.json: no such file or directory"),
        ("compare a.json .", "cannot read .: is a directory"),
        ("compare a.json small.toml", "small.toml holds no run report"),
        ("compare a.json list.json", "list.json holds no run report"),
        ("compare a.json deep.json", "deep.json holds no run report"),
        ("compare a.json raw.json", "raw.json holds no run report"),
        ("compare a.json a.json --within 10", '--within: "10" is not a share (5%, 0.5%)'),
    ],
)
def test_what_makes_no_sense_is_one_clear_line_and_nothing_is_started(
    loadtest, tmp_path, arguments, words
):
    (tmp_path / "bad.toml").write_text("about = 'x'\nnodse = 5\n")
    (tmp_path / "a.json").write_text('{"boot_s": 1.0, "queries": {}, "checks": []}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "raw.json").write_bytes(b"\xff")

    code, out, err = loadtest(*arguments.split())

    assert code == 2
    assert words in err.splitlines()[0]
    assert out == ""
    assert not (tmp_path / "logs").exists()


def test_the_list_shows_each_scenario_with_one_line(loadtest):
    code, out, _ = loadtest("scenarios")
    rows = json.loads(loadtest("scenarios", "--json")[1])["scenarios"]

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == library.names()
    assert [row["name"] for row in rows] == library.names()
    assert {"name": "calm", "about": library.load("calm").about, "nodes": 30} in rows


# -- compare A B -----------------------------------------------------------------------------------


@pytest.fixture
def reports(tmp_path):
    """Write two reports, the second a log with the slower numbers; returns their names."""
    first = {"nodes": 5, "seed": 1, "queries": {"count": 9, "stop_ms": {"p50": 20.0}}}
    second = {"nodes": 5, "seed": 2, "queries": {"count": 9, "stop_ms": {"p50": 25.0}}}
    second["checks"] = []
    (tmp_path / "a.json").write_text(json.dumps(first, indent=2))
    (tmp_path / "b.jsonl").write_text(f'{{"header": {{}}}}\n{json.dumps(second)}\n\n')
    return "a.json", "b.jsonl"


def test_two_reports_are_one_table_and_what_they_were_not_asked_alike_is_said(loadtest, reports):
    code, out, err = loadtest("compare", *reports)

    assert code == 0
    assert err == "note: the runs differ in seed: 1 and 2\n"
    assert out.splitlines()[-1].split() == [
        "queries.stop_ms.p50", "ms", "20", "25", "1.25", "worse",
    ]  # fmt: skip


@pytest.mark.parametrize(("share", "code"), [("2000%", 0), ("30%", 0), ("25%", 0), ("24.9%", 99)])
def test_a_number_that_got_worse_by_more_than_was_allowed_ends_with_99(
    loadtest, reports, share, code
):
    found, _, err = loadtest("compare", *reports, "--within", share)

    assert found == code
    assert ("failed: worse by more than" in err) == (code == 99)


@pytest.mark.parametrize(
    ("order", "code"), [(("good", "bad"), 99), (("bad", "good"), 0), (("bad", "bad"), 0)], ids=str
)
def test_a_check_that_did_not_hold_is_said_and_ends_with_99_where_it_held_before(
    loadtest, tmp_path, order, code
):
    told = {"nodes": 5, "queries": {"count": 9}}
    for name in ("good", "bad"):
        row = {"name": "exact total", "ok": name == "good", "expected": 9, "found": 6}
        (tmp_path / f"{name}.json").write_text(json.dumps(told | {"checks": [row, 5]}))
    files = [f"{name}.json" for name in order]

    found, out, err = loadtest("compare", *files, "--within", "10%", "--json")

    sides = [side for side, name in zip("AB", order, strict=True) if name == "bad"]
    assert found == code
    assert [line for line in err.splitlines() if "hold in" in line] == [
        f"note: did not hold in {side}: exact total" for side in sides
    ]
    assert ("failed: a check that held in A did not in B" in err) == (code == 99)
    assert json.loads(out)["failed"] == {
        side.lower(): ["exact total"] if side in sides else [] for side in "AB"
    }
    assert loadtest("compare", *files)[0] == 0


def test_the_way_back_is_better_and_ends_with_0(loadtest, reports):
    code, out, _ = loadtest("compare", *reversed(reports), "--within", "1%", "--json")

    result = json.loads(out)
    assert code == 0
    assert (result["a"], result["b"], result["worse"]) == ("b.jsonl", "a.json", [])
    assert result["worse_share"] == 0.01
    assert result["numbers"][1] == {
        "name": "queries.stop_ms.p50", "unit": "ms", "a": 25.0, "b": 20.0, "ratio": 0.8,
        "verdict": "better",
    }  # fmt: skip


def test_the_log_of_a_scenario_is_compared_with_what_json_printed(loadtest, tmp_path):
    _, out, _ = loadtest("scenario", "small.toml", "--seed", "4", "--json")
    (tmp_path / "printed.json").write_text(out)
    (log,) = (tmp_path / "logs").iterdir()

    code, table, err = loadtest("compare", str(log), "printed.json", "--within", "0%")

    assert (code, err) == (0, "")
    assert len(table.splitlines()) > 20
