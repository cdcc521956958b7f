"""What a load test and the processes of its nodes tell each other."""

import pytest

from loadtest.orders import (
    ANSWERS,
    NUMBERS_MAX,
    ORDERS,
    WORDS_PER_PAGE,
    Boot,
    Cut,
    pages,
    short,
    shorts,
    words,
)
from tracker.wire import framed


def test_an_order_to_boot_keeps_every_field_on_its_way():
    tracker = ("127.0.0.1", 7_400)
    numbers = (9, 501, 500, 1_000, 0.02, 50)
    order = Boot(*numbers, tracker, short([1, 2]), 7, 0.01, 0.05, "{}", "/data", "ours")

    assert ORDERS.decode(ORDERS.encode(order)) == order


def test_as_many_ports_as_a_fleet_has_fit_into_one_order():
    ports = list(range(40_000, 40_000 + NUMBERS_MAX))

    body = ORDERS.encode(Cut(1, short(ports), 12.5))
    framed(body)

    assert shorts(ORDERS.decode(body).ports) == ports


@pytest.mark.parametrize("count", [0, 1, WORDS_PER_PAGE, WORDS_PER_PAGE + 1])
def test_an_answer_of_any_length_comes_in_pages_of_which_the_last_says_so(count):
    told = pages(3, list(range(count)))
    arrived = [ANSWERS.decode(ANSWERS.encode(page)) for page in told]

    assert [page.end for page in arrived] == [False] * (len(told) - 1) + [True]
    assert {page.request for page in arrived} == {3}
    assert words(arrived) == list(range(count))
