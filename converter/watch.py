"""`sightd convert --watch DIR`: a model that appears in a folder becomes a bundle's next version, or says why not."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from typing import IO, Collection, Dict, Iterator, List, Mapping, Optional, Tuple

import sightd
from sightd.bundle import Bundle, open_bundle
from sightd.bundle_versions import publish, version_name
from sightd.errors import BundleError, ConfigError, SightdError
from sightd.redact import redact

from .jobs import MODEL_SUFFIXES, Job, files_beside, job_key, read_job
from .on_success import run_on_success
from .scratch import scratch_folder
from .watch_record import Record, read_record, record_file, write_record

__all__ = ["Watch", "watch"]

_LOCK = ".sightd-watch.lock"
_POLL_S = 1.0
_SETTLED_S = 3.0  # a file that has not changed for so long is complete
_RETRY_S = 30.0
_MAX_ATTEMPTS = 2
_TAIL_BYTES = 8192

#: This very sightd. Not `python -m`: that would import what lies in the watched folder, were it named as a library.
_SIGHTD = "import sys; sys.path[0] = sys.argv.pop(1); from sightd.cli import main; main()"
_ROOT = str(Path(sightd.__file__).parents[1])

#: inode, size and mtime_ns of a model and of the files beside it: another one is another content.
_Signature = Tuple[Tuple[int, int, int], ...]

_log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The conversion was ended because the watch ends."""


def watch(
    folder: Path, given: Mapping[str, object], known: Collection[str], on_success: Optional[str], stop: Event
) -> None:
    """Convert what is in *folder* and what appears there, one at a time, until *stop*.

    :param given: options of `sightd convert` for every file; a job file's win (see :mod:`converter.jobs`).
    :param known: the options that a job file may have.
    :param on_success: a command to run, without a shell, when a new version is in service.
    :raises ConfigError: no such folder, or another process watches it.
    """
    with _locked(folder):
        _log.info("watching %s for %s", folder, ", ".join(MODEL_SUFFIXES))
        Watch(folder, given, known, on_success, stop).run()


class Watch:
    """The loop, and what it remembers: a few numbers for each file that is there."""

    def __init__(
        self,
        folder: Path,
        given: Mapping[str, object],
        known: Collection[str],
        on_success: Optional[str],
        stop: Event,
        settled_s: float = _SETTLED_S,
    ) -> None:
        self._folder, self._given, self._known = folder, given, known
        self._on_success, self._stop, self._settled_s = on_success, stop, settled_s
        self._seen: Dict[Path, Tuple[_Signature, float]] = {}
        self._done: Dict[Path, _Signature] = {}

    def run(self) -> None:
        """Until the stop event."""
        while not self._stop.is_set():
            try:
                for model, signature in self.settled(time.monotonic()):
                    self._convert_once(model)
                    self._done[model] = signature
            except _StoppedError:
                return
            except OSError as error:  # a full disk, a share that is away: nothing was lost, later is as good
                _log.warning("%s: %s; trying again in %.0f s", self._folder, error, _RETRY_S)
                self._stop.wait(_RETRY_S)
            self._stop.wait(_POLL_S)

    def settled(self, now: float) -> List[Tuple[Path, _Signature]]:
        """The files to look at, oldest first: those that are complete and were not looked at as they are now."""
        found = {path: _signature(path) for path in _models(self._folder)}
        self._seen = {
            path: self._seen[path] if path in self._seen and self._seen[path][0] == signature else (signature, now)
            for path, signature in found.items()
        }
        self._done = {path: signature for path, signature in self._done.items() if record_file(path).exists()}
        ready = [
            (path, signature)
            for path, (signature, since) in self._seen.items()
            if signature and now - since >= self._settled_s and self._done.get(path) != signature
        ]
        return sorted(ready, key=lambda pair: (pair[1][0][2], pair[0]))

    def _convert_once(self, model: Path) -> None:
        key, before = job_key(model), read_record(model)
        attempts = 1
        if before is not None and before.key == key:
            if before.state != "running":
                return
            attempts = before.attempts + 1
        running = Record(key, "running", attempts=attempts, at=_now())
        if attempts > _MAX_ATTEMPTS:
            sentence = f"begun {_MAX_ATTEMPTS} times and never ended: was the machine out of memory, or switched off?"
            self._end(model, replace(running, state="failed", sentence=f"{sentence} To try again, delete this file"))
            return
        write_record(model, running)
        _log.info("%s: converting", model.name)
        try:
            ended = self._convert(model, running)
        except _StoppedError:
            record_file(model).unlink()
            raise
        except SightdError as error:
            ended = replace(running, state="failed", sentence=redact(str(error)))
        self._end(model, ended)

    def _end(self, model: Path, record: Record) -> None:
        level = logging.INFO if record.state == "published" else logging.ERROR
        _log.log(level, "%s: %s. %s", model.name, record.state, record.sentence)
        write_record(model, replace(record, at=_now()))

    def _convert(self, model: Path, record: Record) -> Record:
        job = read_job(model, self._given, self._known)
        with scratch_folder(job.out.parent) as scratch:
            staged = scratch / "new" / "bundle"  # beside it the conversion has a scratch folder of its own
            code, errors = _run(job, staged, self._stop)
            record = replace(record, exit_code=code, bundle=str(job.out))
            if code == 3:
                return replace(record, state="refused", sentence=f"{errors} The bundle in service stays")
            if code != 0:
                return replace(record, state="failed", sentence=errors)
            bundle = _publish(job.out, open_bundle(staged))
        return replace(
            record,
            state="published",
            sentence=bundle.manifest.verdict,
            version=version_name(bundle),
            on_success=run_on_success(self._on_success),
        )


def _publish(out: Path, staged: Bundle) -> Bundle:
    manifest = staged.manifest
    extras = {name: staged.files[name] for name in manifest.extras if name in staged.files}
    fallback_file = staged.folder / manifest.fallback.file if manifest.fallback else None
    return publish(out, staged.engine_file, manifest, extras, fallback_file)


def _run(job: Job, staged: Path, stop: Event) -> Tuple[int, str]:
    """`sightd convert` in a process of its own, so that no memory stays: its exit code and what it complained of.

    :raises _StoppedError: the event came first; the process is gone.
    """
    command = [sys.executable, "-c", _SIGHTD, _ROOT, "convert", str(job.model), *job.arguments, f"--out={staged}"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, cwd=job.model.parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        while process.poll() is None:
            if stop.wait(0.2):
                process.terminate()
                process.wait()
                raise _StoppedError
        return process.returncode, _complaint(process.returncode, errors)


def _complaint(code: int, errors: IO[bytes]) -> str:
    if code < 0:
        return f"the conversion was ended by signal {-code}: out of memory, perhaps (see the kernel's log)"
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - _TAIL_BYTES))
    text = redact(errors.read().decode("utf-8", "replace")).strip()
    return text.rpartition("sightd: ")[2]


def _models(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix in MODEL_SUFFIXES and not path.name.startswith("."))


def _signature(model: Path) -> _Signature:
    """Empty where the file has just gone."""
    with contextlib.suppress(FileNotFoundError):
        stats = [model.stat()]
        for file in files_beside(model):
            with contextlib.suppress(FileNotFoundError):
                stats.append(file.stat())
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)
    return ()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise ConfigError(
            f"{folder}: can't be watched ({error.strerror}); give a folder that can be written"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BundleError(f"{folder}: another sightd watches this folder; stop that one first") from None
        yield
