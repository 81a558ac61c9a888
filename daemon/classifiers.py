"""Classifiers: crops of what was found in a batch go through a second engine, and its word goes to each object.

They run on the inference thread, where all engines live, between the collection of a batch and its hand-over. Which
boxes are objects only NMS tells, so for a batch that a classifier is asked about NMS is done there too, instead of on
the analysis thread: the other way, crops would have to travel back and batches to be joined again across threads. A
batch that no classifier is asked about passes as it is, and pays nothing.

What it may cost is bounded: of a batch's objects as many are looked at as fit into one batch of the classifier's
engine, the largest of each frame first, the cameras in turn; the rest is counted. How many batches may wait for it
is up to :mod:`.lanes`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from sightd.bundle_check import check_classes
from sightd.crops import crop
from sightd.engines import Engine, Ticket
from sightd.errors import naming
from sightd.types import Attribute, Detections, Frame

from .batches import Inferred
from .counters import Counters
from .plan import Plan
from .rules import ClassifierRule

__all__ = ["Classification", "Classifier", "Classifiers"]

#: Batches in one engine: one that it computes, one that follows at once.
_AT_ONCE = 2

#: An object of a batch: index of its frame, index among what was found in it.
_Place = Tuple[int, int]


class Classifier:
    """A loaded classifier."""

    def __init__(self, engine: Engine, labels: Sequence[str]) -> None:
        self.engine, self.labels = engine, labels
        #: Batches in its engine.
        self.under_way = 0
        self._looked_at: Dict[str, int] = {}

    def last_look(self, camera: str) -> int:
        """When it has looked at an object of *camera*: less for longer ago, 0 for never."""
        return self._looked_at.get(camera, 0)

    def look_at(self, camera: str) -> None:
        """Remember that it has looked at an object of *camera* now."""
        self._looked_at[camera] = 1 + max(self._looked_at.values(), default=0)


class Classifiers:
    """All that are loaded, by their bundle's folder; they serve the batches of every model. Inference thread only."""

    def __init__(self, loaded: Mapping[str, Classifier], counters: Counters) -> None:
        self._loaded, self._counters = loaded, counters

    def have_room(self, bundle: str, frames: Sequence[Frame], plan: Plan) -> bool:
        """Whether all that are asked about *frames*, of the model in *bundle*, could begin at once."""
        if all(classifier.under_way < _AT_ONCE for classifier in self._loaded.values()):
            return True
        asked = {rule.bundle for _, rule in _rules(bundle, frames, plan)}
        return all(self._loaded[classifier].under_way < _AT_ONCE for classifier in asked)

    def ask(self, inferred: Inferred, plan: Plan) -> Classification:
        """Submit the crops of *inferred*, if it has any that are asked for; needs :meth:`have_room`.

        :raises EngineError: a classifier failed; the message names it.
        """
        frames = inferred.batch.frames
        rules: Dict[str, Dict[int, ClassifierRule]] = {}
        for index, asks in _rules(inferred.bundle, frames, plan):
            rules.setdefault(asks.name, {})[index] = asks
        if not rules:
            return Classification(inferred, [])
        found = plan.models[inferred.bundle].applied(inferred.candidates, inferred.batch.placements)
        reported: Dict[int, NDArray[np.bool_]] = {}
        for index in {index for own in rules.values() for index in own}:
            rule = plan.rules[frames[index].camera]
            found[index] = rule.tracked(found[index])
            reported[index] = found[index].scores >= rule.min_score
        questions = [question for own in rules.values() for question in self._submit(frames, found, reported, own)]
        return Classification(replace(inferred, found=found), questions)

    def _submit(
        self,
        frames: Sequence[Frame],
        found: Sequence[Detections],
        reported: Mapping[int, NDArray[np.bool_]],
        rules: Mapping[int, ClassifierRule],
    ) -> Iterator[_Question]:
        """Cut out and submit what one classifier is asked about; nothing where there is no such object."""
        rule = next(iter(rules.values()))
        classifier = self._loaded[rule.bundle]
        areas = {index: _wanted(found[index], reported[index], own) for index, own in rules.items()}
        places = _largest_first(areas, {index: classifier.last_look(frames[index].camera) for index in areas})
        chosen = [place for rank, place in places if rank < rule.max_per_frame][: classifier.engine.max_batch]
        self._counters.crops[rule.name] += len(chosen)
        self._counters.skipped[rule.name] += len(places) - len(chosen)
        if not chosen:
            return
        with naming(f"classifier {rule.name}"):
            slot = classifier.engine.slot()
            for position, (frame, item) in enumerate(chosen):
                slot.put(position, crop(frames[frame].image, found[frame].boxes[item]))
                classifier.look_at(frames[frame].camera)
            ticket = classifier.engine.submit(slot, len(chosen))
        classifier.under_way += 1
        yield _Question(rule.name, rule.min_score, classifier, chosen, ticket)


class Classification:
    """A batch on its way through the classifiers."""

    def __init__(self, inferred: Inferred, questions: List[_Question]) -> None:
        self._inferred, self._questions = inferred, questions

    def done(self) -> bool:
        """Whether :meth:`result` would return at once."""
        return all(question.ticket.done() for question in self._questions)

    def result(self) -> Inferred:
        """Wait for the classifiers; the batch with their words. Once only.

        :raises EngineError: a classifier failed; the message names it.
        """
        found = self._inferred.found
        if found is None:
            return self._inferred
        words: List[List[Dict[str, Attribute]]] = [[{} for _ in range(len(one))] for one in found]
        for question in self._questions:
            for (frame, item), word in question.answers():
                words[frame][item][question.name] = word
        said = [replace(one, attributes=tuple(own)) for one, own in zip(found, words)]
        return replace(self._inferred, found=said, classified_at=time.monotonic())


@dataclass(frozen=True)
class _Question:
    """Crops in one classifier's engine."""

    name: str
    min_score: float
    classifier: Classifier
    places: List[_Place]
    ticket: Ticket

    def answers(self) -> Iterator[Tuple[_Place, Attribute]]:
        """What it says of each object, where it is sure enough."""
        self.classifier.under_way -= 1
        with naming(f"classifier {self.name}"):
            candidates = self.ticket.result()
            check_classes(f"classifier {self.name}", candidates.classes[:, 0], self.classifier.labels)
        best = zip(self.places, candidates.scores[:, 0].tolist(), candidates.classes[:, 0].tolist())
        for place, score, index in best:
            if score >= self.min_score:
                yield place, Attribute(self.classifier.labels[index], round(score, 3))


def _rules(bundle: str, frames: Sequence[Frame], plan: Plan) -> Iterator[Tuple[int, ClassifierRule]]:
    """Which classifiers are asked about which of *frames*, of the model in *bundle*."""
    for index, frame in enumerate(frames):
        rule = plan.rules.get(frame.camera)
        if rule is not None and rule.bundle == bundle:  # else its camera has gone over to another model
            for own in rule.classifiers:
                yield index, own


def _wanted(found: Detections, reported: NDArray[np.bool_], rule: ClassifierRule) -> NDArray[np.float32]:
    """The area of each object, 0 where it is not *reported* or *rule* does not ask about it."""
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    large = sides.min(axis=1) >= rule.min_size if len(found) else np.zeros(0, np.bool_)
    asked = reported & large if rule.classes is None else reported & large & np.isin(found.classes, list(rule.classes))
    areas: NDArray[np.float32] = np.where(asked, sides.prod(axis=1), np.float32(0))
    return areas


def _largest_first(areas: Mapping[int, NDArray[np.float32]], order: Mapping[int, int]) -> List[Tuple[int, _Place]]:
    """The objects that have an area, with their rank in their frame: the largest of every frame, then the second ...

    :param order: of the frames, for objects of the same rank.
    """
    ranked = [
        (rank, order[frame], -float(own[item]), (frame, int(item)))
        for frame, own in areas.items()
        for rank, item in enumerate(np.argsort(-own, kind="stable"))
        if own[item] > 0
    ]
    return [(rank, place) for rank, _, _, place in sorted(ranked)]
