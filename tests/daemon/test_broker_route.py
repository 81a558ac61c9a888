"""Which broker is next: the order, how long each is left alone, and where one may send us."""

from __future__ import annotations

import time
from itertools import islice
from typing import List, Optional

import pytest

from daemon.broker.connection import MQTT_5, MQTT_311
from daemon.broker.ending import Cause, Ending
from daemon.broker.options import Address, BrokerOptions
from daemon.broker.route import LONGEST_PAUSE_S, Route, pauses

A, B, C = Address("a", 1883), Address("b", 1883), Address("c", 1884)
ELSEWHERE = Address("evil.example", 1883)
AWAY = Ending(Cause.UNREACHABLE, "", "")


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def route(*others: Address, anywhere: bool = False) -> Route:
    return Route(BrokerOptions("a", 1883, fallbacks=others, redirected_anywhere=anywhere))


def refused(reason: str, reference: str = "") -> Ending:
    return Ending(Cause.REFUSED, reason, "", reference)


def lost(reason: str = "", reference: str = "") -> Ending:
    return Ending(Cause.LOST, reason, "", reference)


def tour(leading: Route, clock: Clock, endings: List[Ending], stood_s: float = 0.0) -> List[Address]:
    """Where it leads after each of *endings*, every pause being waited for."""
    visited = []
    for ending in endings:
        pause_s = leading.after(ending, stood_s)
        clock.now += pause_s or 0.0
        visited.append(leading.options.address)
    return visited


# Pauses


def test_pauses_grow_to_the_longest_and_no_further_and_differ() -> None:
    drawn = [list(islice(pauses(), 12)) for _ in range(200)]
    assert max(max(one) for one in drawn) <= LONGEST_PAUSE_S == 2.0
    assert min(min(one) for one in drawn) >= 0.3
    assert all(one[0] <= 0.5 and one[-1] >= 1.5 for one in drawn)
    assert len({one[-1] for one in drawn}) > 100


def test_one_broker_is_tried_again_after_pauses_that_begin_anew_when_a_connection_has_held(clock: Clock) -> None:
    leading = route()
    waited = [leading.after(AWAY, 0.0) for _ in range(12)]
    assert all(pause_s is not None and pause_s <= LONGEST_PAUSE_S for pause_s in waited)
    assert (waited[-1] or 0) >= 1.5
    assert (leading.after(lost(), 1.0) or 0) >= 1.5, "one that breaks at once is not hurried after"
    assert (leading.after(lost(), 3.0) or 9) <= 0.5


@pytest.mark.parametrize(
    ("reason", "least_s"),
    [
        ("Server busy", 10),
        ("Server unavailable", 10),
        ("Quota exceeded", 10),
        ("Connection rate exceeded", 10),
        ("Message rate too high", 10),
        ("Session taken over", 30),
        ("Administrative action", 30),
        ("Banned", 60),
        ("Not authorized", 0),
        ("Server shutting down", 0),
        ("", 0),
    ],
)
def test_what_a_broker_wishes_is_respected(reason: str, least_s: float, clock: Clock) -> None:
    for ending in (refused(reason), lost(reason)):
        pause_s = route().after(ending, 60.0)
        assert pause_s is not None
        assert least_s <= pause_s <= max(0.5, 1.25 * least_s)


# Order


def test_each_broker_is_tried_in_order_without_a_pause_before_any_is_tried_again(clock: Clock) -> None:
    leading = route(B, C)
    assert leading.after(AWAY, 0.0) == 0.0
    assert leading.options.address == B
    assert leading.after(AWAY, 0.0) == 0.0
    assert leading.options.address == C
    pause_s = leading.after(AWAY, 0.0)
    assert pause_s is not None
    assert 0 < pause_s <= 0.5


def test_each_has_its_turn_even_where_every_attempt_takes_longer_than_a_pause(clock: Clock) -> None:
    leading = route(B, C)
    visited = []
    for _ in range(9):
        clock.now += 3  # until the attempt fails
        clock.now += leading.after(AWAY, 0.0) or 0.0
        visited.append(leading.options.address)
    assert visited == [B, C, A] * 3


def test_after_a_fallback_was_lost_the_first_comes_first(clock: Clock) -> None:
    leading = route(B, C)
    assert tour(leading, clock, [AWAY, AWAY]) == [B, C]
    assert leading.stands_in
    clock.now += 3600
    assert tour(leading, clock, [lost()], stood_s=3600) == [A]
    assert not leading.stands_in


def test_a_busy_broker_is_passed_by_until_its_time_is_over(clock: Clock) -> None:
    leading = route(B)
    assert tour(leading, clock, [refused("Server busy"), AWAY, AWAY]) == [B, B, B]
    clock.now += 13
    assert tour(leading, clock, [AWAY]) == [A]


def test_a_broker_that_takes_us_and_throws_us_out_at_once_does_not_keep_us_from_the_next(clock: Clock) -> None:
    assert tour(route(B), clock, [lost("Not authorized")], stood_s=0.1) == [B]


def test_another_version_is_tried_at_the_same_broker_and_forgotten_at_the_next(clock: Clock) -> None:
    leading = route(B)
    old = Ending(Cause.VERSION, "Unsupported protocol version", "")
    assert leading.after(old, 0.0) is None
    assert (leading.options.address, leading.protocol) == (A, MQTT_311)
    leading.after(AWAY, 0.0)
    assert (leading.options.address, leading.protocol) == (B, MQTT_5)


# Server references (MQTT 5, section 4.11)


@pytest.mark.parametrize("make", [refused, lost])
def test_a_broker_may_send_us_to_another_that_is_named_in_the_settings(make: object, clock: Clock) -> None:
    ending = make("Use another server", "nowhere.example c:1884")  # type: ignore[operator]
    leading = route(B, C)
    assert leading.after(ending, 0.0) == 0.0
    assert leading.options.address == C
    assert not leading.stands_in, "it is no stopgap: the first does not want us now"
    clock.now += 3600
    assert tour(leading, clock, [lost()], 3600) == [A]


@pytest.mark.parametrize(
    "reference",
    [
        "evil.example",
        "a:1884",
        "b.evil.example",
        "b:1883@evil.example",
        "user:pass@b:1883",
        "mqtt://b:1883",
        "b:1883/x",
        "[b]:1883",
        "b:99999999",
        "b:-1",
        "b:0",
        "",
        " ",
        "\0",
        "b\n:1883",
        "[::1",
        "x" * 60_000,
    ],
)
def test_it_may_not_send_us_anywhere_else(reference: str, clock: Clock) -> None:
    leading = route(B, C)
    leading.after(AWAY, 0.0)
    assert leading.options.address == B
    leading.after(refused("Use another server", reference), 0.0)
    assert leading.options.address == C, "the next in order"
    for _ in range(20):
        leading.after(refused("Server moved", reference), 0.0)
        assert leading.options.address in (A, B, C)


def test_a_reference_keeps_user_and_encryption_as_they_are(clock: Clock) -> None:
    leading = Route(BrokerOptions("a", 1883, "me", "secret", fallbacks=(B,)))
    leading.after(refused("Use another server", "b"), 0.0)
    assert leading.options == BrokerOptions("b", 1883, "me", "secret", fallbacks=(B,))


def test_a_server_that_moved_is_preferred_from_then_on_but_the_others_are_not_forgotten(clock: Clock) -> None:
    leading = route(B, C)
    assert tour(leading, clock, [refused("Server moved", "c:1884")]) == [C]
    assert leading.first.address == C
    clock.now += 3600
    assert tour(leading, clock, [lost()], 3600) == [A]
    clock.now += 3600
    assert tour(leading, clock, [lost()], 3600) == [C]


def test_two_that_send_us_to_each_other_get_us_no_faster_than_two_that_are_away(clock: Clock) -> None:
    leading, began = route(B), clock.now
    for attempt in range(100):
        to = "b:1883" if leading.options.address == A else "a:1883"
        clock.now += leading.after(refused("Use another server", to), 0.0) or 0.0
        assert clock.now - began >= attempt * 1.5 / 2 - 12
    assert leading.options.address in (A, B)


def test_anywhere_is_anywhere_but_only_so_often(clock: Clock) -> None:
    leading = route(anywhere=True)
    followed: List[Optional[float]] = []
    for number in range(10):
        followed.append(leading.after(refused("Use another server", f"host{number}.example:1"), 0.0))
        if followed[-1]:
            break
    assert followed[:3] == [0.0, 0.0, 0.0]
    assert leading.options.address == A, "after three references that lead nowhere it begins anew"


def test_a_reference_that_led_nowhere_for_hours_is_followed_again(clock: Clock) -> None:
    leading = route(anywhere=True)
    for _ in range(100):
        clock.now += leading.after(refused("Use another server", "x.example"), 0.0) or 0.0
        assert leading.options.address == Address("x.example", 1883)
        clock.now += leading.after(AWAY, 0.0) or 0.0
        assert leading.options.address == A
    assert clock.now > 950, "with the usual pauses"


@pytest.mark.parametrize(
    ("reference", "address"),
    [
        ("x.example", Address("x.example", 1883)),
        ("x.example:99", Address("x.example", 99)),
        ("[fe80::9610:3eff:fe1c]:1883", Address("fe80::9610:3eff:fe1c", 1883)),
        ("::1", Address("::1", 1883)),
        ("a:1883 10.10.151.22:8883", Address("10.10.151.22", 8883)),
    ],
)
def test_references_are_read_as_the_specification_writes_them(reference: str, address: Address, clock: Clock) -> None:
    leading = route(anywhere=True)
    leading.after(refused("Server moved", reference), 0.0)
    assert leading.options.address == address
    assert leading.first.address == address
