"""What an engine must reach: the settings file's ``agreement`` section as the gate is handed it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Mapping

from sightd.settings import AgreementSettings

__all__ = ["LEAST", "Thresholds"]

#: The figures that must reach a least value, ``min_`` and their name.
LEAST = ("ap", "ap50", "recall", "precision", "matched_iou")

#: The settings own the values and say what each means; docs/agreement.md derives them.
_DEFAULT = AgreementSettings()


@dataclass(frozen=True)
class Thresholds:
    """Fields of :class:`sightd.settings.AgreementSettings`, which describes them."""

    min_score: float = _DEFAULT.min_score
    margin: float = _DEFAULT.margin
    iou: float = _DEFAULT.iou
    min_evidence: int = _DEFAULT.min_evidence
    min_ap: float = _DEFAULT.min_ap
    min_ap50: float = _DEFAULT.min_ap50
    min_recall: float = _DEFAULT.min_recall
    min_precision: float = _DEFAULT.min_precision
    min_matched_iou: float = _DEFAULT.min_matched_iou
    max_score_shift: float = _DEFAULT.max_score_shift
    interval_slack: float = _DEFAULT.interval_slack
    min_group_evidence: int = _DEFAULT.min_group_evidence
    min_class_recall: float = _DEFAULT.min_class_recall
    min_camera_recall: float = _DEFAULT.min_camera_recall

    def lowered(self, floor: Mapping[str, float]) -> Thresholds:
        """For candidates of a model whose float build itself reaches only *floor* (figures by name, 1 at best).

        What a mere change of the engine costs a brittle model is not INT8's doing: each least figure sinks by it.
        """
        return replace(self, **{f"min_{key}": getattr(self, f"min_{key}") - (1 - floor[key]) for key in LEAST})

    @classmethod
    def from_settings(cls, settings: AgreementSettings) -> Thresholds:
        """The section of a settings file."""
        return cls(**settings.model_dump())
