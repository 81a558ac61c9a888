"""Every scenario, and what is promised of it. The bounds are the issue's; the machine may be busy with more than us."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List

import pytest

from tests.chaos.effort import Effort
from tests.chaos.isolation import UnavailableError
from tests.chaos.outcome import Outcome
from tests.chaos.scenarios import SCENARIOS
from tests.parts.requires import require

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

#: Runs a scenario: its outcomes by fault.
Run = Callable[[str], Dict[str, Outcome]]
#: A daemon that is started anew on a busy machine.
_START_S = 30.0
#: A picture is waited for twice the read timeout of 2 s at most; and a busy machine.
_NOTICED_S = 5.0


@pytest.fixture
def run(tmp_path: Path, effort: Effort, table: List[Outcome]) -> Run:
    def run(scenario: str) -> Dict[str, Outcome]:
        for part in ("mosquitto", "gst-rtsp-server"):
            require(part)
        try:
            outcomes = SCENARIOS[scenario](tmp_path, effort)
        except UnavailableError as reason:
            pytest.skip(str(reason))
        table.extend(outcomes)
        return {outcome.fault: outcome for outcome in outcomes}

    return run


def test_cameras_that_break_are_told_apart_and_come_back_and_the_others_do_not_feel_it(run: Run) -> None:
    outcomes = {fault.partition(" ")[2]: outcome for fault, outcome in run("cameras").items()}
    assert len(outcomes) == 10
    for fault, outcome in outcomes.items():
        assert outcome.notes.get("stale", 0) == 0, fault
        assert outcome.notes["others_rate"] == pytest.approx(1, abs=0.05), fault
        assert outcome.recovered_s < 10, fault
    for fault in ("sigstop", "stalled", "black-holed", "clock-stopped"):
        assert 0 <= outcomes[fault].notes["noticed_s"] <= _NOTICED_S, fault
        assert outcomes[fault].notes["said"].startswith("frozen"), fault
    assert 0 <= outcomes["decoder-stopped"].notes["noticed_s"] <= 2 * _NOTICED_S
    for fault in ("kill", "cut", "decoder-killed"):
        assert 0 <= outcomes[fault].notes["noticed_s"] <= 1, fault
        assert outcomes[fault].notes["said"] == "offline", fault
    assert outcomes["corrupt"].notes["said"], "damage was not noticed"


def test_a_lossy_network_costs_no_connection_and_a_black_hole_only_its_own_camera(run: Run) -> None:
    outcomes = run("network")
    assert outcomes["10 % packets lost"].notes["reconnects"] == 0
    hole = outcomes["network black hole"]
    assert 0 <= hole.notes["noticed_s"] <= _NOTICED_S
    assert hole.notes["stale"] == 0
    assert hole.recovered_s < 10


def test_brokers_and_daemons_that_break_are_back_with_every_state(run: Run) -> None:
    for fault, outcome in run("brokers").items():
        assert outcome.lost == 0, fault
        assert outcome.recovered_s <= (7 if fault.startswith("broker") else _START_S), fault


@pytest.mark.parametrize("scenario", ["events", "events-volatile"])
def test_every_event_that_was_stored_arrives_in_its_cameras_order(run: Run, scenario: str) -> None:
    (outcome,) = run(scenario).values()
    assert outcome.lost == 0
    assert outcome.notes["wanted"] > 500
    assert outcome.notes["of_same_id_but_other"] == outcome.notes["of_same_seq_but_other"] == 0
    assert outcome.notes["out_of_order"] == 0
    assert outcome.notes["resumed_s"] <= 10
    assert outcome.recovered_s <= 30


def test_a_full_disk_ends_nothing_and_is_told_and_what_it_costs_is_counted(run: Run) -> None:
    (outcome,) = run("disk").values()
    assert outcome.notes["said"]
    assert outcome.notes["unsaved"] > 0
    assert outcome.lost <= outcome.notes["counted"]
    assert outcome.notes["said_after"] == ""
    assert outcome.notes["out_of_order"] == 0


def test_a_power_failure_takes_nothing_that_was_stored(run: Run) -> None:
    outcomes = run("power")
    assert [outcome.lost for outcome in outcomes.values()] == [0, 0, 0]
    events = outcomes["power cut"]
    assert events.notes["of_same_id_but_other"] == events.notes["of_same_seq_but_other"] == 0
    assert events.notes["out_of_order"] == 0
    assert events.recovered_s <= _START_S


def test_damaged_spools_send_nothing_wrong_and_their_gaps_are_seen(run: Run) -> None:
    (outcome,) = run("spools").values()
    wrong = {name: outcome.notes[name] for name in ("crashes", "bad_rows_sent", "out_of_order", "hidden_gaps")}
    assert set(wrong.values()) == {0}, wrong
    assert outcome.lost > 0, "nothing was damaged"


def test_sigterm_in_the_midst_of_it_is_an_orderly_end(run: Run) -> None:
    (outcome,) = run("sigterm").values()
    assert outcome.lost == 0
    assert outcome.notes["stopped_s"] < 10


def test_a_bit_that_turned_over_is_no_crash(run: Run) -> None:
    outcomes = run("flips")
    assert [outcome.lost for outcome in outcomes.values()] == [0] * len(outcomes)
    engine = outcomes["bit flip: engine"]
    assert engine.notes["refused"] == engine.injected


def test_no_file_of_settings_crashes_who_reads_it(run: Run) -> None:
    (outcome,) = run("settings").values()
    assert outcome.injected >= 300
    assert outcome.notes["refused"] > 0


def test_no_way_into_the_settings_reader_ends_in_a_crash(run: Run) -> None:
    (outcome,) = run("settings-coverage").values()
    assert outcome.injected > 1000


def test_a_thousand_commands_that_make_no_sense_leave_the_next_one_to_be_obeyed(run: Run) -> None:
    (outcome,) = run("commands").values()
    assert outcome.lost == 0
    assert outcome.notes["refused"] > outcome.injected / 2
