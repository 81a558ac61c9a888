"""The settings' reader under atheris, which looks for inputs that reach new branches: for the long run, where it is.

``python -m tests.chaos.coverage_fuzz SEED SECONDS FOLDER``, by hand: ``pip install atheris`` first.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import List

from tests.chaos.isolation import UnavailableError
from tests.chaos.outcome import Outcome

__all__ = ["coverage_fuzz"]

_ROOT = Path(__file__).parents[2]
_FILE = Path("/etc/sightd/sightd.yaml")


def coverage_fuzz(folder: Path, seed: int, seconds: int) -> List[Outcome]:
    """Fuzz so long, from the commented settings on.

    :raises UnavailableError: atheris is not installed.
    """
    if importlib.util.find_spec("atheris") is None:
        raise UnavailableError("atheris is not installed: pip install atheris")
    (folder / "corpus").mkdir()
    (folder / "corpus/commented").write_bytes((_ROOT / "config/sightd.yaml").read_bytes())
    command = [sys.executable, "-m", "tests.chaos.coverage_fuzz", str(seed), str(seconds), str(folder / "corpus")]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    units = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    assert units, done.stderr[-4000:]
    return [
        Outcome(
            "fuzz: settings, atheris", int(units.group(1)), notes={"inputs_kept": len(list(folder.glob("corpus/*")))}
        )
    ]


def _main(seed: str, seconds: str, corpus: str) -> None:
    import atheris  # type: ignore[import-not-found, unused-ignore]

    with atheris.instrument_imports(include=["sightd.settings"]):
        from sightd.errors import ConfigError
        from sightd.settings import parse_settings

    def read(data: bytes) -> None:
        with contextlib.suppress(ConfigError):
            parse_settings(data, _FILE)

    options = [f"-seed={seed}", f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, corpus], read)
    atheris.Fuzz()


if __name__ == "__main__":
    _main(*sys.argv[1:])
