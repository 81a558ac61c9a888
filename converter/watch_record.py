"""What became of a file in a watched folder, beside it as NAME.onnx.result.json: for people, CI and restarts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import msgspec

from sightd.bounded import decode_json, read_bounded
from sightd.bundle import replace_durably

__all__ = ["Record", "read_record", "record_file", "write_record"]

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Record:
    """The state of one file."""

    #: Of the content that was converted (:func:`converter.jobs.job_key`).
    key: str
    #: "running", "published", "refused" (INT8 did not agree: the old bundle stays) or "failed" (the same, by an error).
    state: str
    #: Why, in one sentence for people.
    sentence: str = ""
    #: Of `sightd convert`; None where it did not run.
    exit_code: Optional[int] = None
    bundle: str = ""
    #: The version of the bundle that this file became.
    version: str = ""
    #: How the command that was to run afterwards ended; None where there is none or it did not run.
    on_success: Optional[int] = None
    #: How often it was begun; a machine that dies of it shall not die for ever.
    attempts: int = 1
    #: UTC, ISO 8601.
    at: str = ""


def record_file(model: Path) -> Path:
    """Where the record of *model* lies."""
    return model.with_name(f"{model.name}.result.json")


def read_record(model: Path) -> Optional[Record]:
    """The record of *model*, None where there is none or it can't be read."""
    try:
        return decode_json(read_bounded(record_file(model), _MAX_BYTES), Record)
    except (OSError, ValueError):
        return None


def write_record(model: Path, record: Record) -> None:
    """Write it, whole or not at all.

    :raises OSError: the disk is full, for instance.
    """
    replace_durably(record_file(model), msgspec.json.format(msgspec.json.encode(record), indent=2))
