"""Draws detections into a picture, for the eye."""

from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np

from .types import Detections, Image

__all__ = ["annotated"]


def annotated(image: Image, detections: Detections, labels: Sequence[str]) -> Image:
    """A copy of *image* ([H, W, 3] uint8 BGR) with each box, its label and its score."""
    picture: Image = image.copy()
    shortest = min(picture.shape[:2])
    thickness, font_scale = max(1, round(shortest / 400)), max(0.35, shortest / 1200)
    for box, score, index in zip(detections.boxes, detections.scores, detections.classes):
        x1, y1, x2, y2 = (int(value) for value in box)
        colour = _colour(int(index))
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, thickness)
        text = f"{labels[index]} {score:.2f}"
        (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, font_scale, 1)
        top = max(height + base, y1)
        cv2.rectangle(picture, (x1, top - height - base), (x1 + width, top), colour, cv2.FILLED)
        cv2.putText(picture, text, (x1, top - base), cv2.FONT_HERSHEY_SIMPLEX, font_scale, (255, 255, 255), 1)
    return picture


def _colour(index: int) -> Sequence[int]:
    """A dark enough colour of its own for each class: hues by the golden angle, so neighbours differ."""
    hsv = np.array([[[index * 111 % 180, 220, 170]]], np.uint8)
    return [int(value) for value in cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]]
