"""What a watched folder asks for: a model file and, beside it, a job file with options of `sightd convert`."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Collection, Dict, List, Mapping

from sightd.bundle import sha256_of
from sightd.errors import ConfigError
from sightd.settings.strict_yaml import read_document

__all__ = ["MODEL_SUFFIXES", "Job", "files_beside", "job_file", "job_key", "read_job"]

MODEL_SUFFIXES = (".onnx", ".pt", ".pt2", ".pth", ".torchscript")
_MAX_BYTES = 256 << 10


@dataclass(frozen=True)
class Job:
    """What to convert and how."""

    model: Path
    #: The bundle that the result becomes a version of.
    out: Path
    #: Options for the command line of `sightd convert`, but for the model and ``--out``.
    arguments: List[str]


def job_file(model: Path) -> Path:
    """Where the options for *model* are looked for: NAME.yaml beside NAME.onnx."""
    return model.with_suffix(".yaml")


def files_beside(model: Path) -> List[Path]:
    """What belongs to *model*, there or not: its options, and its weights where ONNX keeps them in a second file.

    That is called so by PyTorch, and so by Hugging Face.
    """
    return [job_file(model), *(model.with_name(f"{model.name}{mark}data") for mark in "._")]


def job_key(model: Path) -> str:
    """A hash of all that a job is made of: the same content is converted once."""
    digest = hashlib.sha256(sha256_of(model).encode())
    for file in files_beside(model):
        if file.exists():
            digest.update(sha256_of(file).encode())
    return digest.hexdigest()


def read_job(model: Path, given: Mapping[str, object], known: Collection[str]) -> Job:
    """The job of *model*; options in its job file win over those *given*.

    :param given: options of `sightd convert` by name (``max_trials``), "out" among them.
    :param known: the names that a job file may have.
    :raises ConfigError: the job file has mistakes: all of them, each with its line.
    """
    options = {**given, **_read_options(job_file(model), known)}
    out = model.parent / str(options.pop("out"))
    return Job(model, out, [text for name, value in options.items() for text in _arguments(name, value)])


def _read_options(path: Path, known: Collection[str]) -> Dict[str, object]:
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read ({error}); save it as UTF-8 text, readable for this user") from error
    if len(text) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES >> 10} KiB; this is no job file")
    document = read_document(text)
    data = document.data or {}
    mistakes = [(problem.line, problem.message) for problem in document.problems]
    mistakes += [(document.lines[(name,)], _unknown(name, known)) for name in data if name not in known]
    mistakes += [(document.lines[(name,)], f"{name} has no value") for name in data if data[name] in (None, [], {})]
    if mistakes:
        raise ConfigError("\n".join(f"{path}:{line}: {message}" for line, message in sorted(mistakes)))
    return data


def _unknown(name: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"there are {', '.join(sorted(known))}"
    return f"unknown key '{name}'; {hint}"


def _arguments(name: str, value: object) -> List[str]:
    """One option as the command line has it; mappings and lists repeat it."""
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [option] if value else []
    if isinstance(value, Mapping):
        return [f"{option}={key}={_text(part)}" for key, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [f"{option}={_text(part)}" for part in value]
    return [f"{option}={_text(value)}"]


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
