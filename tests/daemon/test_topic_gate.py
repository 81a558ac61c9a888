from __future__ import annotations

import pytest

from daemon.outbox.topic_gate import TopicGate


@pytest.fixture
def gate() -> TopicGate:
    gate = TopicGate()
    gate.begin()
    return gate


def test_one_event_of_a_topic_goes_ahead_and_the_others_follow_from_where_they_stood(gate: TopicGate) -> None:
    assert [gate.admits("a", seq, 0) for seq in (1, 3, 5)] == [True, False, False]
    assert gate.resume_from(0) == 0, "while the first is on its way"
    gate.taken("a")
    assert gate.resume_from(0) == 3
    assert [gate.admits("a", seq, 0) for seq in (3, 5, 7)] == [True, True, True]
    assert gate.resume_from(0) == 0


def test_a_refused_topic_is_tried_with_one_event_after_pauses_that_double_up_to_a_minute(gate: TopicGate) -> None:
    now, pauses = 0.0, []
    for _ in range(9):
        assert gate.admits("a", 1, now)
        assert not gate.admits("a", 2, now)
        gate.refused("a", 1, now)
        start = now
        while not gate.resume_from(now):
            assert not gate.admits("a", 1, now)
            now += 0.5
        pauses.append(now - start)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_it_begins_again_with_the_refused_event(gate: TopicGate) -> None:
    gate.admits("a", 4, 0)
    gate.admits("a", 2, 0)
    gate.refused("a", 4, 0)
    assert gate.resume_from(1) == 2


def test_several_refusals_of_events_that_were_on_their_way_are_one(gate: TopicGate) -> None:
    gate.admits("a", 1, 0)
    gate.taken("a")
    for seq in (2, 3, 4):
        gate.admits("a", seq, 0)
    for seq in (2, 3, 4):
        gate.refused("a", seq, 0)
    assert not gate.admits("a", 2, 0.9)
    assert gate.resume_from(1) == 2


def test_other_topics_are_not_held_up(gate: TopicGate) -> None:
    gate.admits("a", 1, 0)
    gate.refused("a", 1, 0)
    assert gate.admits("b", 2, 0)
    gate.taken("b")
    assert gate.admits("b", 3, 0)


def test_a_new_connection_knows_nothing_of_the_last_ones_refusals(gate: TopicGate) -> None:
    gate.admits("a", 1, 0)
    gate.refused("a", 1, 0)
    gate.begin()
    assert gate.admits("a", 1, 0)
