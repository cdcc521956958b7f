"""`counter inc --id`: where an id belongs, what is said when nobody can tell, what was promised."""

import json
from dataclasses import replace

import pytest

from counter.cli.homes import home_of
from counter.cli.ids import Ids
from counter.cli.increments import session_of, unstamped_token
from counter.messages import (
    COUNTED_THERE,
    ELSEWHERE,
    GRANTED,
    UNDERWAY,
    Counted,
    Disown,
    Disowned,
    Increment,
)
from counter.messages import TOO_OLD as TOO_OLD_THERE
from counter.stamps import stamp_of
from tracker.boots import told as told_boots
from tracker.members import AWAY, DEAD, GONE, Member
from tracker.messages import Find, Found, Listed, Refused, Roster

TOO_OLD = "this id is so far behind that nobody can tell whether it was counted"


def make_member(name, endpoint=("127.0.0.1", 9), **fields):
    return Member(name, name.encode().ljust(16), 1, 1, 0, *endpoint, **fields)


def knowing(members):
    """Return a script for a tracker that knows these members."""

    def script(message):
        if isinstance(message, Roster):
            return [Listed(message.request, True, tuple((m, 1.0, 0) for m in members))]
        if isinstance(message, Find):
            found = [m for m in members if m.name == message.name]
            rows = tuple((m.name, m.host, m.port, m.status, 0) for m in found)
            return [Found(message.request, rows)]
        return []

    return script


def counting(message, verdict=GRANTED):
    """Count, and say the same of each id that is to be given up."""
    if isinstance(message, Disown):
        return [Disowned(message.request, (verdict,))]
    return [Counted(message.sequence, True, verdict == COUNTED_THERE)]


def saying(verdict):
    return lambda message: counting(message, verdict)


def sent(server):
    return [message for message in server.heard if isinstance(message, Increment)]


# -- the home of an id ------------------------------------------------------------------------


def test_an_id_has_one_home_and_ids_have_homes_everywhere():
    members = [make_member(f"n{number}") for number in range(5)]
    homes = {token: home_of(token, members).name for token in map(str, range(100))}

    assert {home_of(t, members[::-1]).name == home for t, home in homes.items()} == {True}
    assert set(homes.values()) == {member.name for member in members}


def test_the_home_of_an_id_stays_when_it_is_down_or_another_one_leaves():
    members = [make_member(f"n{number}") for number in range(5)]
    home = home_of("T", members)
    down = [replace(m, status=DEAD) if m == home else m for m in members]
    left = [m if m == home else replace(m, status=GONE) for m in members]

    assert home_of("T", down).name == home_of("T", left).name == home.name


def test_an_id_belongs_to_a_node_with_a_disk_where_there_is_one():
    members = [make_member(f"n{number}", durable=number == 3) for number in range(5)]

    assert {home_of(str(token), members).name for token in range(20)} == {"n3"}
    assert home_of("T", [make_member("m", durable=False)]).name == "m"
    assert home_of("T", []) is None


def test_an_id_without_a_node_is_counted_at_its_home_each_time(counter, serve):
    nodes = {name: serve(counting, name=name) for name in ("n1", "n2", "n3")}
    members = [make_member(name, node.endpoint) for name, node in nodes.items()]
    tracker = serve(knowing(members), role="tracker")

    for token in ("a", "b", "c", "d", "e", "a", "b"):
        assert counter("inc", "k", "--id", token, "--tracker", tracker.address).code == 0

    for token in "abcde":
        home = nodes[home_of(token, members).name]
        assert session_of(token) in [message.session for message in sent(home)]
    assert sum(len({message.session for message in sent(node)}) for node in nodes.values()) == 5


@pytest.mark.parametrize("status", [AWAY, DEAD])
def test_an_id_whose_home_is_down_is_counted_nowhere_else(counter, serve, status):
    members = [make_member("n1"), make_member("n2")]
    home = home_of("T", members)
    members = [replace(m, status=status) if m == home else m for m in members]
    tracker = serve(knowing(members), role="tracker")

    ran = counter("inc", "k", "--id", "T", "--tracker", tracker.address)

    assert (ran.code, ran.out) == (1, "")
    assert f"belongs to {home.name}, which is" in ran.err


@pytest.fixture
def three(serve):
    """Return a function that serves three nodes and their tracker.

    `said` is what those say to whom the id T does not belong, the first `count` of which have
    these fields. It gives the home, and the others.
    """

    def start(said, count=2, **fields):
        members = [make_member(name) for name in ("n1", "n2", "n3")]
        home = home_of("T", members).name
        nodes = {m.name: serve(counting if m.name == home else said, name=m.name) for m in members}
        changed = [m.name for m in members if m.name != home][:count]
        here = [
            replace(
                m, **{"port": nodes[m.name].endpoint[1], **(fields if m.name in changed else {})}
            )
            for m in members
        ]
        tracker = serve(knowing(here), role="tracker")
        return tracker.address, nodes.pop(home), list(nodes.values())

    return start


def test_an_id_is_sent_once_all_the_others_have_given_it_up(counter, three):
    address, home, others = three(counting)

    ran = counter("inc", "k", "5", "--id", "T", "--tracker", address)
    assert (ran.code, ran.err) == (0, "")

    [message] = sent(home)
    asked = [m for other in others for m in other.heard if isinstance(m, Disown)]
    assert [m.rows[0][:2] for m in asked] == [(message.session, 1)] * 2
    assert len({(m.by, m.rows) for m in asked}) == 1


def test_an_id_that_another_node_counted_is_asked_about_there(counter, three):
    address, home, others = three(saying(COUNTED_THERE))

    ran = counter("inc", "k", "--id", "T", "--tracker", address, "--json")

    assert (ran.code, json.loads(ran.out)["repeated"]) == (0, True)
    assert (sent(home), len(sent(others[0])) + len(sent(others[1]))) == ([], 1)


def test_an_id_that_others_gave_to_somebody_else_is_never_counted_by_them(counter, three):
    address, home, _ = three(saying(ELSEWHERE))

    assert counter("inc", "k", "--id", "T", "--tracker", address).code == 0
    assert len(sent(home)) == 1


@pytest.mark.parametrize("verdict", [TOO_OLD_THERE, UNDERWAY], ids=["too old", "under way"])
def test_an_id_of_which_another_node_cannot_tell_is_sent_nowhere(counter, three, verdict):
    address, home, _ = three(saying(verdict))

    ran = counter("inc", "k", "--id", "T", "--tracker", address, "--deadline", "0.5s")

    assert (ran.code, ran.out, sent(home)) == (3, "", [])
    assert "MAY have been counted" in ran.err


def test_a_member_that_is_down_keeps_no_id_from_counting_and_is_named(counter, three):
    address, home, others = three(counting, status=DEAD)

    ran = counter("inc", "k", "--id", "T", "--tracker", address)

    assert (ran.code, len(sent(home))) == (0, 1)
    assert ran.err.count("is dead and was not asked: had it counted the id T before") == 2
    assert [m for other in others for m in other.heard] == []


def test_a_script_is_told_who_was_not_asked(counter, three):
    address, home, _ = three(counting, status=DEAD)
    command = ("inc", "--id", "T", "--tracker", address, "--json")

    ran = counter(*command, "k")

    [answer] = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, len(sent(home)), len(answer["not_asked"])) == (0, 1, 2)
    assert all(f"{name} is dead and was not asked" in ran.err for name in answer["not_asked"])


def test_an_id_that_was_given_to_somebody_before_is_sent_nowhere_while_a_member_is_down(
    counter, three
):
    address, home, others = three(saying(ELSEWHERE), count=1, status=DEAD)

    ran = counter("inc", "k", "--id", "T", "--tracker", address)

    assert (ran.code, ran.out, sent(home)) == (3, "", [])
    assert "gave it to another node before, and" in ran.err
    assert "is dead: that may be the one that counted the id T; the increment MAY" in ran.err
    assert [len([m for m in o.heard if isinstance(m, Disown)]) for o in others] == [0, 1]


def test_where_a_member_left_while_the_others_were_asked_its_heir_is_asked_anew(
    counter, serve, nobody
):
    members = [make_member(name) for name in ("n1", "n2", "n3")]
    home = home_of("T", members)
    heir, left = [member for member in members if member != home]
    asked = []

    def knows(message):
        """Say that it gave the id up, and once the other one's counts are here, that it counted."""
        if isinstance(message, Disown):
            asked.append(message)
            return [Disowned(message.request, (COUNTED_THERE if len(asked) > 1 else GRANTED,))]
        return counting(message, COUNTED_THERE)

    servers = {home.name: serve(counting, name=home.name), heir.name: serve(knows, name=heir.name)}
    here = [replace(m, port=servers[m.name].endpoint[1]) for m in (home, heir)]
    left = replace(left, port=int(nobody.rpartition(":")[2]), store=b"l" * 16)
    before, after = knowing([*here, left]), knowing([*here, left.handed_over(heir.name)])
    looks = []

    def roster(message):
        looks.extend([message] if isinstance(message, Roster) else [])
        return (before if len(looks) < 2 else after)(message)

    tracker = serve(roster, role="tracker")

    ran = counter("inc", "k", "--id", "T", "--tracker", tracker.address, "--json")

    assert (ran.code, ran.err, json.loads(ran.out)["repeated"]) == (0, "", True)
    assert sent(servers[home.name]) == []


def test_of_an_id_that_is_known_to_have_counted_nobody_is_said_to_be_down(counter, three):
    address, home, _ = three(saying(COUNTED_THERE), count=1, status=DEAD)

    ran = counter("inc", "k", "--id", "T", "--tracker", address, "--json")

    answer = json.loads(ran.out)
    assert (ran.code, ran.err, answer["repeated"], answer["not_asked"]) == (0, "", True, [])
    assert sent(home) == []


def test_strict_sends_an_id_nowhere_while_a_member_is_down_and_nobody_gives_it_up(counter, three):
    address, home, others = three(counting, status=DEAD)

    ran = counter("inc", "k", "--id", "T", "--strict", "--tracker", address)

    assert (ran.code, ran.out, sent(home)) == (1, "", [])
    assert "the id T was sent nowhere: " in ran.err
    assert "is dead, and may have counted it" in ran.err
    assert [m for other in others for m in other.heard] == []


def test_strict_sends_an_id_nowhere_where_nobody_listens_or_too_many_would_be_asked(
    counter, three, nobody, monkeypatch
):
    address, home, _ = three(counting, port=int(nobody.rpartition(":")[2]))
    ran = counter("inc", "k", "--id", "T", "--strict", "--tracker", address)
    assert (ran.code, ran.out, sent(home)) == (1, "", [])
    assert "is not there, and may have counted it" in ran.err

    monkeypatch.setattr("counter.cli.claiming.ASKED_MAX", 1)
    ran = counter("inc", "k", "--id", "T", "--strict", "--tracker", address)
    assert (ran.code, ran.out, sent(home)) == (1, "", [])
    assert "2 members would have to be asked, 1 at most are" in ran.err


def test_strict_counts_where_all_others_have_given_the_id_up(counter, three):
    address, home, others = three(saying(GRANTED))

    ran = counter("inc", "k", "--id", "T", "--strict", "--tracker", address)

    assert (ran.code, len(sent(home))) == (0, 1)
    assert [len([m for m in o.heard if isinstance(m, Disown)]) for o in others] == [1, 1]


@pytest.mark.parametrize("wish", [(), ("--id", "T", "--node", "n1")], ids=["new", "at a node"])
def test_strict_without_an_id_or_with_a_node_is_refused(counter, wish):
    ran = counter("inc", "k", "--strict", *wish)

    assert (ran.code, ran.out) == (2, "")
    assert "--strict wants --id and no --node" in ran.err


def test_an_id_that_is_sent_to_another_node_than_before_may_count_twice_and_that_is_said(
    counter, serve
):
    first, second = [serve(counting, name=name, store=name.encode() * 8) for name in ("n1", "n2")]

    alone = [counter("inc", "k", "--id", "T", "--node", first.address) for _ in range(2)]
    elsewhere = counter("inc", "k", "--id", "T", "--node", second.address)

    assert [ran.err for ran in alone] == ["", ""]
    assert (elsewhere.code, len(sent(second))) == (0, 1)
    assert "the id T was sent to n1 before" in elsewhere.err
    assert "n2 may count it a second time" in elsewhere.err


def test_where_nobody_listens_any_more_nobody_is_asked_about_an_id(counter, three, nobody):
    address, home, _ = three(counting, port=int(nobody.rpartition(":")[2]))

    ran = counter("inc", "k", "--id", "T", "--tracker", address)

    assert (ran.code, len(sent(home))) == (0, 1)
    assert ran.err.count("is not there and was not asked") == 2


@pytest.mark.parametrize("what", ["silent", "a new store"])
def test_an_id_is_sent_nowhere_while_a_member_does_not_answer(counter, three, close, what):
    address, home, _ = three(lambda m: [close] if what == "silent" else [Disowned(m.request, ())])

    ran = counter("inc", "k", "--id", "T", "--tracker", address)

    assert (ran.code, ran.out, sent(home)) == (1, "", [])
    assert "nothing was sent" in ran.err


def test_where_too_many_would_have_to_be_asked_an_id_counts_once_at_its_own_node(
    counter, three, monkeypatch
):
    monkeypatch.setattr("counter.cli.claiming.ASKED_MAX", 1)
    address, home, others = three(saying(COUNTED_THERE))

    assert counter("inc", "k", "--id", "T", "--tracker", address).code == 0
    assert (len(sent(home)), [m for other in others for m in other.heard]) == (1, [])


def test_an_id_that_its_own_node_has_given_up_may_have_been_counted(counter, serve):
    server = serve(lambda m: [Refused(m.sequence, "given-away", "it counts elsewhere")])

    ran = counter("inc", "k", "--id", "T", "--node", server.address)

    assert (ran.code, ran.out) == (3, "")
    assert "MAY have been counted" in ran.err


def test_an_id_in_a_cluster_without_nodes_is_refused(counter, serve):
    tracker = serve(knowing([]), role="tracker")

    ran = counter("inc", "k", "--id", "T", "--tracker", tracker.address)

    assert (ran.code, "knows no node" in ran.err) == (1, True)


def test_an_id_at_a_named_node_is_counted_there_whoever_its_home_is(counter, serve):
    server = serve(counting)

    assert counter("inc", "k", "--id", "T", "--node", server.address).code == 0
    assert len(sent(server)) == 1


def test_the_safe_retry_names_the_node_by_its_name_where_a_tracker_led_to_it(counter, serve, close):
    answers = iter([[Refused(1, "in-doubt", "cannot tell")]])
    node = serve(lambda message: next(answers, [close]), name="n7")
    tracker = serve(knowing([make_member("n7", node.endpoint)]), role="tracker")

    ran = counter("inc", "k", "5", "--tracker", tracker.address, "--node", "n7", "--id", "T")

    assert ran.code == 3
    assert "retrying is safe:  counter inc k 5 --id T --node n7 " in ran.err


# -- too old to tell --------------------------------------------------------------------------


def test_an_id_too_old_to_tell_is_an_unknown_outcome(counter, serve):
    server = serve(lambda m: [Refused(m.sequence, "too-old", TOO_OLD)])

    ran = counter("inc", "k", "--id", "T", "--node", server.address)

    assert (ran.code, ran.out) == (3, "")
    assert f"{TOO_OLD}; the increment MAY have been counted" in ran.err
    assert "under a new id it counts for certain, perhaps a second time" in ran.err


def test_a_clock_that_lags_behind_keeps_nobody_from_counting(counter, serve):
    def script(message):
        if stamp_of(message.session):
            return [Refused(message.sequence, "too-old", TOO_OLD)]
        return counting(message, COUNTED_THERE)

    server = serve(script)

    ran = counter("inc", "k", "--node", server.address, "--json")

    assert ran.code == 0
    first, second = sent(server)
    assert second.session == session_of(json.loads(ran.out)["id"]) != first.session


def test_any_other_refusal_of_a_new_id_stays_a_refusal(counter, serve):
    server = serve(lambda m: [Refused(m.sequence, "full", "this node is full")])

    ran = counter("inc", "k", "--node", server.address)

    assert (ran.code, len(sent(server))) == (1, 1)


def test_a_token_without_a_time_is_as_new_as_one_with_it():
    first, second = unstamped_token(), unstamped_token()

    assert first != second
    assert stamp_of(session_of(first)) == 0


# -- nodes that began anew ----------------------------------------------------------------------

STORES = b"A" * 16, b"B" * 16


def test_the_safe_retry_names_the_store_that_was_sent_to(counter, serve, close):
    node = serve(lambda message: [close], store=STORES[0])

    ran = counter("inc", "k", "5", "--node", node.address)

    assert ran.code == 3
    assert f"--node {node.address} --store 41414141 " in ran.err


@pytest.mark.parametrize("store", ["41414141", "41" * 16, "4141414141"])
def test_a_retry_is_not_sent_to_another_store_than_the_one_it_names(counter, serve, store):
    first, second = [serve(counting, store=store) for store in STORES]
    command = ("inc", "k", "5", "--id", "T", "--store", store, "--node")

    assert counter(*command, first.address).code == 0
    ran = counter(*command, second.address)

    assert (ran.code, ran.out, sent(second)) == (3, "", [])
    assert "began anew, with another store than the one that this id was sent to" in ran.err
    assert "the increment MAY have been counted" in ran.err


@pytest.mark.parametrize("store", ["4141414", "41" * 17, "4141414g", "", "-"])
def test_what_is_no_store_is_refused_before_connecting(counter, store):
    ran = counter("inc", "k", "--id", "T", "--store", store, "--node", "127.0.0.1:1")

    assert (ran.code, "--store wants 8 to 32 hexadecimal digits" in ran.err) == (2, True)


@pytest.mark.parametrize("lines", ["", "k 5\n"], ids=["one", "lines"])
def test_a_repeated_command_line_is_not_sent_to_a_node_that_began_anew(
    counter, serve, lines, monkeypatch
):
    def given(*arguments):
        if lines:
            monkeypatch.setattr("counter.cli.feeding._chunks", lambda: iter([lines.encode()]))
        return counter("inc", "-" if lines else "k", "--id", "T", *arguments)

    first, second = [serve(counting, store=store) for store in STORES]

    assert [given("--node", first.address).code for _ in range(2)] == [0, 0]
    ran = given("--node", second.address)

    assert (len(sent(first)), ran.code, sent(second)) == (2, 3, [])
    assert "began anew" in ran.err


LIVES = b"yyyyyyyy" + b"xxxxxxxx"


def welcomes(node, boots):
    node._welcome = replace(node._welcome, boots=boots)


def test_a_retry_names_its_life_and_goes_to_none_that_does_not_go_on_from_it(counter, serve, close):
    first = serve(lambda message: [close], store=STORES[0], boots=LIVES)
    restarted = serve(counting, store=STORES[0], boots=b"zzzzzzzz" + LIVES)
    original = serve(counting, store=STORES[0], boots=LIVES[8:])
    ran = counter("inc", "k", "--id", "T", "--node", first.address)
    assert "--store 41414141.79797979 " in ran.err
    command = ("inc", "k", "--id", "T", "--store", "41414141.79797979", "--node")

    codes = [counter(*command, node.address).code for node in (original, restarted)]

    assert codes == [3, 0]
    assert (sent(original), len(sent(restarted))) == ([], 1)


def test_an_id_remembers_the_last_life_that_it_was_sent_to(counter, serve):
    node = serve(counting, store=STORES[0], boots=LIVES[8:])
    command = ("inc", "k", "--id", "T", "--node", node.address)

    codes = []
    for boots in (LIVES[8:], LIVES, b"zzzzzzzz" + LIVES[8:], b"zzzzzzzz" + LIVES):
        welcomes(node, boots)
        codes.append(counter(*command).code)

    # The third one is a copy of the first life: the second may have counted it.
    assert codes == [0, 0, 3, 0]


@pytest.mark.parametrize("is_remembered", [False, True])
def test_a_node_that_was_started_a_moment_ago_is_asked_until_it_can_say_who_it_is(
    counter, serve, monkeypatch, is_remembered
):
    node = serve(counting, store=STORES[0], boots=LIVES[8:])
    named = () if is_remembered else ("--store", "41414141.78787878")
    command = ("inc", "k", "--id", "T", "--node", node.address, *named)
    assert counter(*command).code == 0
    welcomes(node, told_boots(LIVES, is_believed=False))

    ran = counter(*command, "--deadline", "0.3s")
    monkeypatch.setattr("counter.cli.increments.time.sleep", lambda _: welcomes(node, LIVES))
    again = counter(*command)

    assert (ran.code, again.code, len(sent(node))) == (3, 0, 2)
    assert "was started a moment ago" in ran.err


def test_an_id_may_be_sent_to_a_second_node_by_whoever_names_it(counter, serve):
    nodes = [serve(counting, store=s, name=f"n{s[0]}") for s in STORES]

    codes = [counter("inc", "k", "--id", "T", "--node", node.address).code for node in nodes * 2]

    assert codes == [0, 0, 0, 0]


def test_an_id_belongs_where_it_was_sent_first_whoever_comes_later(counter, serve):
    members = [make_member(name) for name in ("n1", "n2", "n3")]
    later = home_of("T", members).name
    first = next(m.name for m in members if m.name != later)
    nodes = {m.name: serve(counting, name=m.name, store=m.store) for m in members}
    everybody = [make_member(name, node.endpoint) for name, node in nodes.items()]
    alone = serve(knowing([m for m in everybody if m.name == first]), role="tracker")
    tracker = serve(knowing(everybody), role="tracker")

    for told in (alone, tracker):
        assert counter("inc", "k", "--id", "T", "--tracker", told.address).code == 0

    assert (len(sent(nodes[first])), len(sent(nodes[later]))) == (2, 0)


def test_only_ids_that_somebody_gave_are_written_down(counter, serve, tmp_path):
    node = serve(counting, store=STORES[0])

    assert counter("inc", "k", "--node", node.address).code == 0
    assert not (tmp_path / "state").exists()
    assert counter("inc", "k", "--node", node.address, "--id", "secret").code == 0
    (file,) = (tmp_path / "state").rglob("ids")
    assert file.read_text().endswith(f" n1 {'41' * 16}\n")
    assert "secret" not in file.read_text()


def test_the_ids_that_are_remembered_are_bounded_and_the_latest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("counter.cli.ids.FILE_BYTES_MAX", 4_000)
    ids = Ids("default")

    for number in range(200):
        ids.note(f"id{number}", "n1", STORES[0].hex())

    (file,) = (tmp_path / "state").rglob("ids")
    assert file.stat().st_size < 4_100
    assert ids.sent_to("id199") == [("n1", "41" * 16)]
    assert ids.sent_to("id0") == Ids("other").sent_to("id199") == []
    assert all(len(line.split()) == 3 for line in file.read_text().splitlines())


def test_an_id_is_counted_also_where_nothing_can_be_written_down(counter, serve, tmp_path):
    (tmp_path / "state").write_text("a file where a directory should be")

    assert (
        counter("inc", "k", "--node", serve(counting, store=STORES[0]).address, "--id", "T").code
        == 0
    )


def test_nothing_is_sent_to_a_node_that_does_not_say_who_it_is(counter, serve, close):
    silent = serve(counting)
    silent._welcome = close

    ran = counter("inc", "k", "--node", silent.address)

    assert (ran.code, sent(silent)) == (1, [])
    assert "nothing was sent" in ran.err


@pytest.mark.parametrize("is_named", [True, False], ids=["named", "remembered"])
def test_an_id_that_was_sent_before_may_have_counted_where_its_node_is_gone(
    counter, serve, is_named
):
    home = serve(counting, store=b"s" * 16)
    members = [make_member("n1", home.endpoint)]
    tracker = serve(knowing(members), role="tracker")
    command = ("inc", "k", "5", "--id", "T", "--tracker", tracker.address)
    assert counter(*command).code == 0
    members.clear()

    ran = counter(*command, *(("--node", "n1") if is_named else ()))

    assert (ran.code, ran.out) == (3, "")
    assert "an earlier try MAY have been counted" in ran.err


def test_a_store_that_is_named_says_that_there_was_an_earlier_try(counter, serve):
    tracker = serve(knowing([]), role="tracker")
    command = ("inc", "k", "--id", "T", "--node", "n1", "--tracker", tracker.address)

    known, unknown = counter(*command, "--store", "1a2b3c4d"), counter(*command)

    assert (known.code, unknown.code) == (3, 1)
    assert "MAY have been counted" not in unknown.err


def test_an_id_written_behind_half_a_line_is_found_again(tmp_path):
    ids = Ids("default")
    ids.note("first", "n1", (b"1" * 16).hex())
    file = tmp_path / "state" / "counter" / "ids"
    with file.open("ab") as torn:
        torn.write(b"0123456789abcdef")  # what a full disk or a power cut leaves

    ids.note("second", "n2", (b"2" * 16).hex())

    assert ids.sent_to("first") == [("n1", (b"1" * 16).hex())]
    assert ids.sent_to("second") == [("n2", (b"2" * 16).hex())]


# -- what was promised ------------------------------------------------------------------------


@pytest.mark.parametrize(("on_disk", "promise"), [(True, "disk"), (False, "memory")])
def test_the_promise_that_was_met_stands_in_the_json_object(counter, serve, on_disk, promise):
    server = serve(lambda m: [Counted(m.sequence, on_disk, False)])

    ran = counter("inc", "k", "--node", server.address, "--json")

    assert json.loads(ran.out)["ack"] == promise


@pytest.mark.parametrize(
    ("on_disk", "line"),
    [(True, "k 5 on n1\n"), (False, "k 5 on n1   (in memory only)\n")],
)
def test_a_person_is_told_when_the_acknowledgement_is_from_memory(
    counter, serve, monkeypatch, on_disk, line
):
    monkeypatch.setattr("counter.cli.increments.on_terminal", lambda: True)
    server = serve(lambda m: [Counted(m.sequence, on_disk, False)])

    assert counter("inc", "k", "5", "--node", server.address).out == line


# -- ids of a node that has left --------------------------------------------------------------


def test_the_home_of_an_id_that_handed_its_counts_over_is_its_heir():
    members = [replace(make_member(f"n{number}"), reign=0) for number in range(5)]
    home = home_of("T", members)
    first, second, *_ = [m.name for m in members if m != home]
    left = [m.handed_over(first) if m == home else m for m in members]
    twice = [m.handed_over(second) if m.name == first else m for m in left]
    taken = [replace(m, reign=1) if m.name == first else m for m in left]

    assert home_of("T", left).name == first
    assert home_of("T", twice).name == second
    # Another store has the heir's name: nobody can tell any more where its counts are.
    assert home_of("T", taken).name != home.name
    circle = [m.handed_over(m.name) for m in members]
    assert home_of("T", circle) is None


def test_an_id_is_repeated_at_the_heir_of_the_node_it_was_sent_to(counter, serve):
    home, heir = (serve(counting, name=name, store=name.encode() * 8) for name in ("n1", "n2"))
    made = make_member("n1", home.endpoint), make_member("n2", heir.endpoint)
    members = [replace(member, reign=0) for member in made]
    tracker = serve(finding(members), role="tracker")
    command = ("inc", "k", "--id", "T", "--tracker", tracker.address)
    assert counter(*command).code == 0
    first, other = (home, heir) if sent(home) else (heir, home)
    mine, its = members if first is home else members[::-1]
    members[:] = [mine.handed_over(its.name), its]

    ran = counter(*command)

    assert (ran.code, len(sent(first))) == (0, 1)
    assert [message.session for message in sent(other)] == [session_of("T")]


def finding(members):
    """Return a script for a tracker that knows who has left, too, and refuses to lead there."""

    def script(message):
        if isinstance(message, Find):
            present = [m for m in members if m.expected and m.name == message.name]
            if not present:
                return [Refused(message.request, "unknown", "no member is called that")]
            return knowing(present)(message)
        return knowing(members)(message)

    return script
