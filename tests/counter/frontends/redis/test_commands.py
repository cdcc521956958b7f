"""What each request asks for, and what is said to those that ask for nothing that is offered."""

import pytest

from counter.config import DEADLINE_MS_MAX
from counter.frontends.redis import refusals, resp
from counter.frontends.redis.commands import (
    ASKS,
    AT_ONCE,
    COMMANDS,
    COUNTS,
    GET_DEADLINE_MS,
    KEYS_MAX,
    LOOKS,
    Add,
    AddOnce,
    Ask,
    End,
    Talk,
)
from counter.messages import KEYS_PER_QUERY_MAX


@pytest.fixture
def talk(facts):
    return Talk(facts, 9)


def said(talk, *words):
    return talk.take([word.encode() if isinstance(word, str) else word for word in words])


def refusal(talk, *words):
    reply = said(talk, *words)
    assert isinstance(reply, bytes)
    assert reply.startswith(b"-")
    assert reply.endswith(b"\r\n")
    return reply[1:-2].decode()


# -- increments and questions ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "amount"),
    [
        (["INCR", "views"], 1),
        (["incr", "views"], 1),
        (["DECR", "views"], -1),
        (["INCRBY", "views", "5"], 5),
        (["INCRBY", "views", "-5"], -5),
        (["DECRBY", "views", "5"], -5),
        (["DECRBY", "views", "-5"], 5),
        (["INCRBY", "views", "0"], 0),
        (["INCRBY", "views", "9007199254740991"], 2**53 - 1),
    ],
)
def test_an_increment_is_read_word_by_word(talk, words, amount):
    assert said(talk, *words) == Add("views", amount)


@pytest.mark.parametrize(
    "amount", ["", "five", "+5", "05", "1.0", " 5", "5_0", "9007199254740992", "1" * 40, "½", "--5"]
)
def test_what_is_no_amount_counts_nothing(talk, amount):
    assert "an amount is a whole number up to 2^53-1" in refusal(talk, "INCRBY", "views", amount)


@pytest.mark.parametrize(
    "key", [b"", b"k" * 257, b"a\x1b[31m", b"a\x00b", b"\xff", "\u202e".encode()]
)
def test_what_is_no_key_counts_nothing_and_moves_no_cursor(talk, key):
    told = refusal(talk, "INCR", key)

    assert told.startswith("ERR a key is 1")
    assert told.isprintable()


def test_an_increment_with_an_id_keeps_its_id(talk):
    found = said(talk, "COUNTER.INCRBY", "views", "5", "id", "order-17")

    assert found == AddOnce("views", 5, "order-17", "")


def test_an_id_may_name_the_store_that_it_was_sent_to(talk):
    found = said(talk, "COUNTER.INCRBY", "views", "5", "STORE", "ABABABAB", "ID", "t")

    assert found == AddOnce("views", 5, "t", "abababab")


@pytest.mark.parametrize("life", [b"12345678", b"abcdefgh"])
def test_an_id_may_name_the_life_that_it_was_sent_to(talk, life):
    named = f"abababab.{life.hex()}"

    found = said(talk, "COUNTER.INCRBY", "views", "5", "STORE", named, "ID", "t")

    assert found == AddOnce("views", 5, "t", named)


@pytest.mark.parametrize("store", ["0badcafe", "abababab.0badcafe"], ids=["store", "life"])
def test_an_id_that_was_sent_to_another_store_is_not_sent_to_this_one(talk, store):
    told = refusal(talk, "COUNTER.INCRBY", "views", "5", "ID", "t", "STORE", store)

    assert told.startswith("INDOUBT n1 has another store")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["ID", ""], "an id is 1 to 256 bytes"),
        (["ID", "t", "STORE", "xyzxyzxyz"], "STORE wants 8 to 32 hexadecimal digits"),
        (["ID", "t", "STORE", "abab"], "STORE wants 8 to 32 hexadecimal digits"),
        (["STORE", "abababab"], "COUNTER.INCRBY wants an ID"),
        (["ID", "t", "EX", "5"], '"EX" is not understood'),
        (["ID", "t", "STORE"], '"STORE" is not understood'),
    ],
)
def test_an_id_that_is_none_counts_nothing(talk, words, why):
    assert why in refusal(talk, "COUNTER.INCRBY", "views", "5", *words)


def test_get_asks_all_members(talk):
    assert said(talk, "GET", "views") == Ask(("views",), GET_DEADLINE_MS, is_list=False)


def test_many_keys_are_one_question_and_may_be_named_twice(talk):
    found = said(talk, "MGET", "a", "b", "a")

    assert found == Ask(("a", "b", "a"), GET_DEADLINE_MS, is_list=True)


@pytest.mark.parametrize(
    "keys", [[f"k{n}" for n in range(KEYS_PER_QUERY_MAX + 1)], ["a" * 250, "b" * 250]]
)
def test_more_keys_than_one_question_takes_are_refused(talk, keys):
    assert "one MGET takes 32 keys of 480 bytes in all" in refusal(talk, "MGET", *keys)


def test_a_query_names_its_deadline(talk):
    found = said(talk, "COUNTER.QUERY", "views", "DEADLINE", "250")

    assert found == Ask(("views",), 250, is_list=False, is_told_whole=True)
    assert said(talk, "counter.query", "views").deadline_ms == GET_DEADLINE_MS


@pytest.mark.parametrize("written", ["0", "-1", "1s", str(DEADLINE_MS_MAX + 1)])
def test_what_is_no_deadline_asks_nothing(talk, written):
    assert "a deadline is 1 to 600000 ms" in refusal(
        talk, "COUNTER.QUERY", "views", "DEADLINE", written
    )


# -- what this node holds -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (["COUNTER.GET", "views"], b":7\r\n"),
        (["EXISTS", "views", "views", "nope"], b":2\r\n"),
        (["TYPE", "views"], b"+string\r\n"),
        (["TYPE", "nope"], b"+none\r\n"),
        (["DBSIZE"], b":3\r\n"),
        (["KEYS", "*"], b"*3\r\n$5\r\nviews\r\n$6\r\nclicks\r\n$6\r\npage:1\r\n"),
        (["KEYS", "page:?"], b"*1\r\n$6\r\npage:1\r\n"),
        (["KEYS", "[^vp]*"], b"*1\r\n$6\r\nclicks\r\n"),
        (["KEYS", "\\*"], b"*0\r\n"),
        (["SCAN", "0"], b"*2\r\n$1\r\n1\r\n*2\r\n$5\r\nviews\r\n$6\r\nclicks\r\n"),
        (["SCAN", "1", "COUNT", "5", "MATCH", "v*"], b"*2\r\n$1\r\n0\r\n*0\r\n"),
        (["SCAN", "0", "TYPE", "hash"], b"*2\r\n$1\r\n1\r\n*0\r\n"),
        (["SCAN", "7"], b"*2\r\n$1\r\n0\r\n*0\r\n"),
        (["TIME"], b"*2\r\n$10\r\n1700000000\r\n$1\r\n5\r\n"),
        (["CONFIG", "GET", "save", "appendonly", "maxmemory"],
         b"*4\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n$4\r\nsave\r\n$0\r\n\r\n"),
    ],
)  # fmt: skip
def test_what_this_node_holds_is_told(talk, words, reply):
    assert said(talk, *words) == reply


def test_the_sections_of_info_are_told_as_wished(talk):
    every = said(talk, "INFO")

    assert every == said(talk, "INFO", "all")
    assert b"redis_version:7.0.0\r\n" in every
    assert b"node:n1" in every
    assert b"node:n1" not in said(talk, "INFO", "server")


def test_a_node_with_many_keys_lists_them_in_pages_only():
    talk = Talk(_with_keys(KEYS_MAX + 1), 1)

    assert "SCAN lists them in pages" in refusal(talk, "KEYS", "*")


def _with_keys(count):
    class Many:
        def keys(self):
            return count

    return Many()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["SCAN", "-1"], "invalid cursor"),
        (["SCAN", "0", "LIMIT", "5"], '"LIMIT" is not understood'),
        (["SCAN", "0", "MATCH", ""], "a pattern is 1 to 256 bytes"),
        (["CONFIG", "SET", "save", ""], "changed with counter config"),
        (["CONFIG", "GET"], "changed with counter config"),
        (["COUNTER.GET", "\n"], "a key is 1-256 bytes"),
    ],
)
def test_a_look_that_is_not_understood_is_refused(talk, words, why):
    assert why in refusal(talk, *words)


# -- the connection itself ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (["PING"], b"+PONG\r\n"),
        (["ping", "hello"], b"$5\r\nhello\r\n"),
        (["ECHO", b"\xff\x00"], b"$2\r\n\xff\x00\r\n"),
        (["SELECT", "0"], resp.OK),
        (["CLIENT", "ID"], b":9\r\n"),
        (["CLIENT", "SETINFO", "LIB-NAME", "redis-py"], resp.OK),
        (["CLIENT", "NO-EVICT", "on"], resp.OK),
        (["CLIENT", "NO-TOUCH", "on"], resp.OK),
        (["CLIENT", "REPLY", "ON"], resp.OK),
        (["CLIENT", "GETNAME"], b"$-1\r\n"),
        (["COMMAND", "COUNT"], b":%d\r\n" % len(COMMANDS)),
        (["COMMAND", "DOCS", "ping", "nope"],
         b"*2\r\n$4\r\nping\r\n*2\r\n$7\r\nsummary\r\n$14\r\nPING [message]\r\n"),
        (["COMMAND", "INFO", "incr", "nope"],
         b"*2\r\n*6\r\n$4\r\nincr\r\n:2\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n$-1\r\n"),
    ],
)  # fmt: skip
def test_a_connection_is_told_of_itself(talk, words, reply):
    assert said(talk, *words) == reply


def test_all_commands_are_told_of():
    for talk in (Talk(None, 1),):
        assert said(talk, "COMMAND").count(b"+fast") > 5
        assert said(talk, "COMMAND", "LIST").startswith(b"*%d\r\n" % len(COMMANDS))
        assert said(talk, "COMMAND", "DOCS").startswith(b"*%d\r\n" % (2 * len(COMMANDS)))


def test_a_client_gives_itself_a_name(talk):
    assert said(talk, "CLIENT", "SETNAME", "web-1") == resp.OK

    assert said(talk, "CLIENT", "GETNAME") == b"$5\r\nweb-1\r\n"
    assert b"id=9 name=web-1 resp=2" in said(talk, "CLIENT", "INFO")
    assert "without blanks" in refusal(talk, "CLIENT", "SETNAME", "a b")


def test_hello_says_who_is_here_and_changes_the_protocol(talk):
    assert said(talk, "HELLO").startswith(b"*14\r\n")

    told = said(talk, "HELLO", "3", "SETNAME", "web-1")

    assert told.startswith(b"%7\r\n$6\r\nserver\r\n$14\r\ngossip-counter\r\n")
    assert (talk.protocol, talk.name) == (3, b"web-1")
    assert said(talk, "CLIENT", "SETNAME", "") == resp.OK
    assert said(talk, "CLIENT", "GETNAME") == b"_\r\n"
    assert said(talk, "RESET") == b"+RESET\r\n"
    assert talk.protocol == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["HELLO", "4"], "NOPROTO unsupported protocol version"),
        (["HELLO", "3", "AUTH", "default", "secret"], "ERR no password is asked for here"),
        (["HELLO", "3", "SETNAME"], '"SETNAME" is not understood'),
        (["SELECT", "1"], "DB index is out of range"),
        (["AUTH", "secret"], "no password is asked for here"),
        (["CLIENT", "REPLY", "OFF"], "replies cannot be turned off here"),
        (["CLIENT", "KILL", "9"], "CLIENT KILL is not offered"),
        (["CLIENT", "SETNAME"], "CLIENT SETNAME is not offered, but SETNAME"),
        (["COMMAND", "GETKEYS", "GET", "a"], "COMMAND is offered with COUNT"),
        (["PING", "a", "b"], "wrong number of arguments for 'ping'; PING [message]"),
        (["GET"], "wrong number of arguments for 'get'; GET key"),
        (["EXEC"], "EXEC without MULTI"),
        (["DISCARD"], "DISCARD without MULTI"),
        (["\x1b[2J"], "unknown command '\\x1b[2J'; this is a counter: INCR"),
    ],
)
def test_what_is_not_offered_is_refused_in_plain_words(talk, words, why):
    assert why in refusal(talk, *words)
    assert talk.protocol == 2


@pytest.mark.parametrize("name", sorted(refusals.REASONS))
def test_what_redis_has_and_a_counter_has_not_is_refused_with_its_reason(talk, name):
    assert name not in COMMANDS
    assert refusal(talk, name, "a", "b") == f"ERR {refusals.REASONS[name]}"


def test_nothing_is_counted_between_a_multi_and_its_exec(talk):
    assert "MULTI is not offered" in refusal(talk, "MULTI")

    assert talk.kind([b"INCR", b"views"]) == AT_ONCE
    assert "not done: MULTI was refused" in refusal(talk, "INCR", "views")
    assert refusal(talk, "EXEC").startswith("EXECABORT ")
    assert said(talk, "INCR", "views") == Add("views", 1)


@pytest.mark.parametrize("word", ["DISCARD", "RESET"])
def test_a_refused_transaction_ends_with_discard_as_well(talk, word):
    said(talk, "MULTI")

    assert said(talk, word).startswith(b"+")
    assert said(talk, "INCR", "views") == Add("views", 1)


@pytest.mark.parametrize("word", ["QUIT", "POST", "Host:"])
def test_the_connection_ends_with_some_words(talk, word):
    ended = said(talk, word) if word == "QUIT" else said(talk, word, "/", "HTTP/1.1")

    assert isinstance(ended, End)
    assert ended.reply == (resp.OK if word == "QUIT" else resp.error(refusals.SPEAKS_HTTP))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("INCR", COUNTS), ("get", ASKS), ("SCAN", LOOKS), ("PING", AT_ONCE), ("x", 0)],
)
def test_each_request_is_of_a_kind(talk, name, kind):
    assert talk.kind([name.encode(), b"views"]) == kind
