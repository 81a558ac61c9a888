"""Which metric each figure of the stats message is: one table, and how it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List, NamedTuple, Sequence, Tuple

from ..messages import (
    CAMERA_CORRUPT,
    CAMERA_DISABLED,
    CAMERA_FROZEN,
    CAMERA_OFFLINE,
    CAMERA_ONLINE,
    CAMERA_SLOW,
    StatsMessage,
)

__all__ = ["FAMILIES", "Family", "Snapshot"]

#: What the key of a mapping is called as a label; of all others it is a reason.
_KEYS = {"cameras": "camera", "models": "model", "classifiers": "classifier"}
_CAMERA_STATES = tuple(
    state.decode()
    for state in (CAMERA_ONLINE, CAMERA_OFFLINE, CAMERA_FROZEN, CAMERA_CORRUPT, CAMERA_SLOW, CAMERA_DISABLED)
)
_BROKER_STATES = ("connecting", "connected", "refused", "closed")
_COLLECTOR_STATES = ("off", "on", "blocked", "failed")
#: Why events are lost (daemon.outbox.spool), and why commands are refused (daemon.commands).
_LOSSES = ("full", "memory", "age", "refused")
_OBJECTIONS = ("retained", "malformed", "unknown", "disabled", "superseded")


class Snapshot(NamedTuple):
    """The newest stats."""

    stats: StatsMessage
    #: When they were read; monotonic.
    at: float


@dataclass(frozen=True)
class Family:
    """One metric: a counter where its name ends in "_total", else a gauge."""

    name: str
    #: From the stats message to the figure; "*" stands for every key of a mapping.
    path: str
    help: str
    #: Makes the figure a number in Prometheus' base units; with *word* the text of the label.
    value: Callable[[Any], Any] = float
    #: The label that the figure itself becomes, being a word: 1 for the one that holds, 0 for all others.
    word: str = ""
    #: Values of the last label that are told even where there is none yet: a rate needs a 0 to begin with.
    known: Tuple[str, ...] = ()

    @property
    def labels(self) -> List[str]:
        """Their names."""
        parts = self.path.split(".")
        keys = [_KEYS.get(before, "reason") for before, part in zip(parts, parts[1:]) if part == "*"]
        return [*keys, self.word] if self.word else keys

    def samples(self, stats: StatsMessage) -> Iterator[Tuple[List[str], float]]:
        """Values of the labels, and the number."""
        found = {labels: self.value(figure) for labels, figure in _found(stats, self.path.split("."))}
        if self.word:
            for labels, holds in found.items():
                for word in dict.fromkeys((*self.known, holds)):
                    yield [*labels, word], float(word == holds)
        else:
            for labels in dict.fromkeys([*((reason,) for reason in self.known), *found]):
                yield list(labels), found.get(labels, 0.0)


def _found(node: Any, path: Sequence[str], labels: Tuple[str, ...] = ()) -> Iterator[Tuple[Tuple[str, ...], Any]]:
    if not path:
        yield labels, node
    elif path[0] == "*":
        for key, below in node.items():
            yield from _found(below, path[1:], (*labels, key))
    else:
        yield from _found(getattr(node, path[0]), path[1:], labels)


def _bytes(megabytes: float) -> float:
    return megabytes * (1 << 20)


def _limit(megabytes: float) -> float:
    """Without a limit the share of it that is used is nothing."""
    return _bytes(megabytes) or math.inf


def _first(text: str) -> str:
    """Of "refused: <reason>", whose reasons have a metric of their own."""
    return text.partition(":")[0]


FAMILIES = (
    Family("sightd_uptime_seconds", "uptime_s", "Since the start, by a clock that nobody sets"),
    Family("sightd_camera_state", "cameras.*.state", "What its status topic says", str, "state", _CAMERA_STATES),
    Family("sightd_camera_frames_per_second", "cameras.*.fps", "Frames that came, over the last stats interval"),
    Family("sightd_camera_frames_received_total", "cameras.*.received", "Frames that came"),
    Family("sightd_camera_frames_dropped_total", "cameras.*.dropped", "Frames that a newer one replaced"),
    Family("sightd_camera_frames_inferred_total", "cameras.*.inferred", "Frames whose detections were reported"),
    Family("sightd_inference_batches_total", "models.*.batches", "Batches computed"),
    Family("sightd_inference_frames_total", "models.*.frames", "Frames in them"),
    Family("sightd_inference_seconds_total", "models.*.infer_s", "From submission to result, all batches together"),
    Family("sightd_classifier_crops_total", "classifiers.*.crops", "Objects that it looked at"),
    Family("sightd_classifier_crops_skipped_total", "classifiers.*.skipped", "Objects for which there was no room"),
    Family("sightd_queue_messages", "queue.depth", "Messages that wait to be published, events among them"),
    Family("sightd_queue_messages_dropped_total", "queue.dropped", "Messages of streams dropped: the queue was full"),
    Family("sightd_outbox_trouble", "outbox.trouble", "1: the disk fails, events are kept in memory only", bool),
    Family("sightd_outbox_events", "outbox.depth", "Events without the broker's receipt, in memory and on the disk"),
    Family("sightd_outbox_events_stored", "outbox.stored", "Events on the disk"),
    Family("sightd_outbox_oldest_event_seconds", "outbox.oldest_s", "Age of the oldest event on the disk"),
    Family("sightd_outbox_events_unsaved_total", "outbox.unsaved", "Events that had to do without the disk"),
    Family("sightd_outbox_events_dropped_total", "outbox.dropped.*", "Events that are lost", known=_LOSSES),
    Family("sightd_outbox_events_quarantined_total", "outbox.quarantined", "Events that the disk damaged"),
    Family("sightd_outbox_files_set_aside_total", "outbox.set_aside", "Files that were damaged as a whole"),
    Family("sightd_broker_connected", "publisher.connected", "1: the broker has accepted us"),
    Family("sightd_broker_state", "publisher.state", "How the connection stands", _first, "state", _BROKER_STATES),
    Family("sightd_broker_info", "publisher.broker", "The broker connected to, or tried", str, "broker"),
    Family("sightd_broker_state_seconds", "publisher.state_s", "For so long it has been connected, or has not"),
    Family("sightd_broker_away_seconds_total", "publisher.away_s", "Time without a connection"),
    Family("sightd_broker_connections_total", "publisher.connections", "Connections made"),
    Family("sightd_broker_refusals_total", "publisher.refusals.*", "Attempts to connect that a broker refused"),
    Family("sightd_broker_denies", "publisher.denies", "1: there is a topic on which it takes nothing now", bool),
    Family("sightd_broker_denials_total", "publisher.denials.*", "Messages that the broker did not take"),
    Family("sightd_messages_published_total", "publisher.published", "Messages handed to the connection"),
    Family("sightd_messages_dropped_total", "publisher.dropped", "Messages of streams dropped without a connection"),
    Family("sightd_commands_accepted_total", "commands.accepted", "Commands carried out"),
    Family("sightd_commands_refused_total", "commands.refused.*", "Commands that were not", known=_OBJECTIONS),
    Family("sightd_calibration_state", "calibration.state", "Whether frames are kept", str, "state", _COLLECTOR_STATES),
    Family("sightd_calibration_frames", "calibration.frames", "Frames in the set now"),
    Family("sightd_calibration_frames_kept_total", "calibration.kept", "Frames kept for the next conversion"),
    Family("sightd_calibration_frames_refused_total", "calibration.refused.*", "Frames of no use"),
    Family("sightd_calibration_frames_skipped_total", "calibration.skipped", "Frames not considered for want of time"),
    Family("sightd_memory_used_bytes", "memory.used_mb", "Of the service with its child processes", _bytes),
    Family("sightd_memory_limit_bytes", "memory.limit_mb", "What it may take; +Inf: no limit is known", _limit),
    Family("sightd_memory_given_up", "memory.given_up", "Things given up for want of memory", len),
    Family("sightd_clock_jumps_total", "clock.jumps", "How often the wall clock was set"),
    Family("sightd_clock_last_jump_seconds", "clock.last_jump_s", "How far at last; negative is back"),
)
