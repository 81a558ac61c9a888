"""Of one camera's objects, with times and places made by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

import msgspec
import numpy as np
import pytest

from daemon.events import Events
from daemon.messages import EventMessage, TrackedObject, encode
from daemon.rules import EventRule, Rule
from sightd.types import Attribute, Detections
from tests.parts.frames import frame

LABELS = ["person", "car"]
#: Unix seconds when the camera's first frame was captured.
BEGAN = 1_700_000_000.0
RULE = Rule(0.3, bundle="m", events=EventRule(min_duration_s=0.5, lost_after_s=2.0, update_interval_s=1.0))


class Camera:
    """Ten frames a second, and the events of them."""

    def __init__(self, rule: Rule = RULE) -> None:
        self.told: List[Tuple[str, TrackedObject, TrackedObject]] = []
        self.events = Events("gate", "m", LABELS, itertools.count(1), "boot", lambda *event: self.told.append(event))
        self.rule = rule
        self.now = 100.0

    def see(self, *boxes: Mapping[str, Any], frames: int = 1) -> List[int]:
        """So many frames with these objects; their tracks."""
        ids: List[int] = []
        for _ in range(frames):
            seen = frame("gate", 0, captured_mono=self.now)
            seen = replace(seen, captured_at=BEGAN + self.now - 100.0)
            ids = self.events.look(seen, detections(boxes), self.rule)
            self.now += 0.1
        return ids

    @property
    def kinds(self) -> List[str]:
        return [kind for kind, _, _ in self.told]


def thing(x: float, score: float = 0.8, label: int = 0, words: Optional[Dict[str, Attribute]] = None) -> Dict[str, Any]:
    return {"box": [x, 50, x + 100, 250], "score": score, "label": label, "words": words}


def detections(things: Iterable[Mapping[str, Any]]) -> Detections:
    found = list(things)
    words = tuple(one["words"] or {} for one in found) if any(one["words"] for one in found) else ()
    return Detections(
        np.array([one["box"] for one in found], np.float32).reshape(-1, 4),
        np.array([one["score"] for one in found], np.float32),
        np.array([one["label"] for one in found], np.int32),
        words,
    )


def test_an_object_comes_and_goes() -> None:
    camera = Camera()
    camera.see(thing(10), frames=10)
    camera.see(frames=30)
    assert camera.kinds == ["new", "end"]
    (_, first, new), (_, before, after) = camera.told
    assert first == new == before
    assert new.id == after.id == "1700000000.000-boot-1"
    assert (new.start_time, new.frame_time, new.end_time) == (BEGAN, pytest.approx(BEGAN + 0.5, abs=0.11), None)
    assert after.end_time == after.frame_time == pytest.approx(BEGAN + 0.9, abs=1e-3)
    assert (after.camera, after.label, after.score, after.track_id) == ("gate", "person", 0.8, 1)
    assert (after.box, after.area, after.ratio) == ([10, 50, 110, 250], 20_000, 0.5)
    assert after.attributes == {}


def test_a_flicker_is_no_event() -> None:
    camera = Camera()
    for _ in range(10):
        camera.see(thing(10), frames=2)
        camera.see(frames=25)
    assert camera.kinds == []


def test_three_sightings_are_needed_however_short_an_event_may_be() -> None:
    camera = Camera(replace(RULE, events=replace(RULE.events, min_duration_s=0.0)))
    camera.see(thing(10), frames=2)
    assert camera.kinds == []
    camera.see(thing(10))
    assert camera.kinds == ["new"]


def test_what_was_only_hidden_does_not_end() -> None:
    camera = Camera()
    for _ in range(5):
        camera.see(thing(10), frames=10)
        camera.see(frames=15)
    assert camera.kinds[:1] == ["new"]
    assert "end" not in camera.kinds


def test_what_scores_too_low_to_be_reported_is_no_event_and_does_not_prolong_one() -> None:
    camera = Camera()
    camera.see(thing(10, 0.2), frames=20)
    assert camera.kinds == []
    camera.see(thing(10, 0.8), frames=10)
    camera.see(thing(15, 0.2), frames=25)
    assert (camera.kinds[0], camera.kinds[-1]) == ("new", "end")
    end = camera.told[-1][2]
    assert (end.score, end.box[0]) == (0.8, 10), "as it was last reported, which is when it was last seen"
    assert end.end_time == pytest.approx(BEGAN + 2.9, abs=1e-3)


def test_an_update_tells_when_it_stands_and_when_it_moves_on() -> None:
    camera = Camera()
    camera.see(thing(10), frames=40)
    for step in range(30):
        camera.see(thing(10 + 15 * step))
    assert camera.kinds == ["new", "update", "update"]
    (_, _, new), (_, was_moving, stands), (_, stood, moves) = camera.told
    assert was_moving == new
    assert stood == stands
    assert [one.stationary for one in (new, stands, moves)] == [False, True, False]
    assert stands.motionless_count >= 29
    assert [one.position_changes for one in (new, stands, moves)] == [0, 0, 1]


def test_an_update_tells_a_better_score_and_not_every_breath_of_it() -> None:
    camera = Camera()
    scores = [0.5 + 0.002 * k for k in range(200)]
    for k, score in enumerate(scores):
        camera.see(thing(10 + 30 * k, score))
    assert camera.kinds == ["new", *["update"] * 3]
    told = [after.top_score for _, _, after in camera.told]
    assert all(later - earlier >= 0.1 for earlier, later in zip(told, told[1:]))


def test_updates_of_an_object_keep_their_distance_and_what_was_held_back_comes_then() -> None:
    camera = Camera()
    camera.see(thing(10, 0.4), frames=8)
    camera.see(thing(10, 0.6), frames=30)
    (_, _, new), (_, _, update), *_ = camera.told
    assert update.top_score == 0.6
    assert 1.0 <= update.frame_time - new.frame_time < 1.2


def test_a_classifiers_surest_word_is_kept_and_another_word_is_told() -> None:
    camera = Camera()
    camera.see(thing(10), frames=10)
    camera.see(thing(10, words={"type": Attribute("van", 0.7)}), thing(300), frames=10)
    camera.see(thing(10, words={"type": Attribute("suv", 0.6)}), frames=5)
    assert [kind for kind, _, after in camera.told if after.track_id == 1] == ["new", "update"]
    assert camera.told[-1][2].attributes == {"type": Attribute("van", 0.7)}
    camera.see(thing(10, words={"type": Attribute("suv", 0.9)}), frames=15)
    update = camera.told[-1][2]
    assert update.attributes == {"type": Attribute("suv", 0.9)}
    camera.events.close()
    assert all(after.attributes == {} for _, _, after in camera.told if after.track_id == 2)


def test_events_that_are_disabled_end_and_begin_anew_when_they_are_enabled_again() -> None:
    camera = Camera()
    camera.see(thing(10), frames=10)
    camera.rule = replace(RULE, events=replace(RULE.events, enabled=False))
    assert camera.see(thing(10), frames=10) == [2], "what is there is followed all the same"
    assert camera.kinds == ["new", "end"]
    camera.rule = RULE
    camera.see(thing(10), frames=10)
    assert camera.kinds == ["new", "end", "new"]
    ids = [after.id for _, _, after in camera.told]
    assert ids[0] == ids[1] != ids[2]


def test_after_a_gap_of_the_camera_the_old_ones_end_first_and_when_they_were_seen() -> None:
    camera = Camera()
    camera.see(thing(10), frames=10)
    camera.now += 60.0
    camera.see(thing(10), frames=10)
    assert camera.kinds == ["new", "end", "new"]
    assert camera.told[1][2].end_time == pytest.approx(BEGAN + 0.9, abs=1e-3)


def test_another_size_of_the_picture_ends_all() -> None:
    camera = Camera()
    camera.see(thing(10), frames=10)
    turned = frame("gate", 0, np.zeros((64, 48, 3), np.uint8), captured_mono=camera.now)
    assert camera.events.look(turned, detections([thing(10)]), RULE) == [2]
    assert camera.kinds == ["new", "end"]


def test_close_ends_what_has_begun_and_nothing_else_and_once() -> None:
    camera = Camera()
    camera.see(thing(10), thing(300, label=1), frames=10)
    camera.see(thing(10), thing(300, label=1), thing(500))
    camera.events.close()
    camera.events.close()
    assert camera.kinds == ["new", "new", "end", "end"]
    assert [after.label for _, _, after in camera.told] == ["person", "car"] * 2


def test_ids_sort_by_time_and_are_unique() -> None:
    camera = Camera()
    for _ in range(12):
        camera.see(thing(10), thing(300), frames=8)
        camera.see(frames=25)
    ids = [after.id for kind, _, after in camera.told if kind == "new"]
    assert len(set(ids)) == 24
    assert [one[:14] for one in ids] == sorted(one[:14] for one in ids)


def test_a_label_that_is_not_the_models_is_an_error_and_never_a_wrong_word() -> None:
    with pytest.raises(IndexError):
        Camera().see(thing(10, label=len(LABELS)), frames=10)


def test_an_event_of_long_names_is_less_than_a_kilobyte() -> None:
    camera = Camera()
    camera.see(thing(1234, words={"vehicle_type": Attribute("station wagon", 0.874)}), frames=60)
    camera.events.close()
    _, before, after = camera.told[-1]
    longest = msgspec.structs.replace(after, camera="c" * 32, box=[1234, 1234, 3840, 2160])
    payload = encode(EventMessage("update", 10**9, "a1b2c3d4", before, longest))
    assert len(payload) < 1000
    assert msgspec.json.decode(payload, type=EventMessage).after == longest
