from __future__ import annotations

import threading
from itertools import islice

from daemon.slots import Choice, FrameSlots
from tests.parts.frames import frame


def first(count: int) -> Choice:
    return lambda line: list(islice(line, count))


def test_a_newer_frame_replaces_the_waiting_one_and_the_loss_is_counted() -> None:
    slots = FrameSlots()
    slots.put(frame("door", 0))
    slots.put(frame("door", 1))
    assert [f.seq for f in slots.take(first(4), 0)] == [1]
    assert slots.dropped == {"door": 1}


def test_a_replaced_frame_keeps_its_cameras_place_in_line() -> None:
    slots = FrameSlots()
    for camera in ("a", "b", "c"):
        slots.put(frame(camera, 0))
    slots.put(frame("a", 1))
    assert [(f.camera, f.seq) for f in slots.take(first(2), 0)] == [("a", 1), ("b", 0)]
    slots.put(frame("a", 2))
    assert [f.camera for f in slots.take(first(2), 0)] == ["c", "a"]


def test_under_overload_a_fast_camera_takes_no_more_turns_than_a_slow_one() -> None:
    slots = FrameSlots()
    served = {"fast": 0, "slow": 0}
    for turn in range(100):
        for _ in range(5):
            slots.put(frame("fast", turn))
        slots.put(frame("slow", turn))
        for taken in slots.take(first(1), 0):
            served[taken.camera] += 1
    assert served == {"fast": 50, "slow": 50}


def test_a_file_waits_for_its_frame_to_be_taken_and_loses_none() -> None:
    slots = FrameSlots()

    def read_file() -> None:
        for seq in range(20):
            slots.put(frame("clip", seq), wait=True)

    reader = threading.Thread(target=read_file)
    reader.start()
    seen = []
    while len(seen) < 20:
        seen += [f.seq for f in slots.take(first(4), 5.0)]
    reader.join(5)
    assert seen == list(range(20))
    assert not slots.dropped


def test_take_returns_nothing_when_the_time_is_up() -> None:
    assert FrameSlots().take(first(4), 0.01) == []


def test_take_wakes_as_soon_as_a_frame_comes() -> None:
    slots = FrameSlots()
    threading.Timer(0.05, slots.put, [frame("door", 7)]).start()
    assert [f.seq for f in slots.take(first(1), 30.0)] == [7]


def test_closing_frees_whoever_waits() -> None:
    slots = FrameSlots()
    slots.put(frame("clip", 0))
    writer = threading.Thread(target=slots.put, args=[frame("clip", 1)], kwargs={"wait": True})
    writer.start()
    slots.close()
    writer.join(5)
    assert not writer.is_alive()
    slots.take(first(1), 0)
    assert slots.take(first(1), 30.0) == []
