"""A machine for the doctor's checks: files below a folder, canned programs; all else as on the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Iterable, Mapping, Optional

from daemon.doctor.finding import Finding
from daemon.doctor.machine import Machine, Ran, Space

__all__ = ["BenchMachine", "by_name", "one"]


class BenchMachine(Machine):
    """Knows no program but those of *programs* (the beginning of the command line: how it ends)."""

    is_root = True

    def __init__(
        self,
        root: Path,
        files: Optional[Mapping[str, str]] = None,
        programs: Optional[Mapping[str, Ran]] = None,
        *,
        architecture: str = "x86_64",
        now: Optional[float] = None,
        space: Optional[Space] = None,
    ) -> None:
        super().__init__(root, architecture=architecture, now=now)
        self._programs = dict(programs or {})
        self._space = space
        root.chmod(0o755)  # it stands for "/", which all users may enter
        for name, text in (files or {}).items():
            path = self.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run(self, *command: str, timeout_s: float = 4.0, env: Optional[Mapping[str, str]] = None) -> Optional[Ran]:
        return _longest(self._programs, " ".join(command))

    def run_python(self, *arguments: str, timeout_s: float) -> Ran:
        ran = next((ran for part, ran in self._programs.items() if part in " ".join(arguments)), None)
        return ran or Ran(1, "", "ModuleNotFoundError: No module named " + repr(arguments[1].split()[1].strip(",;")))

    def space(self, absolute: Path) -> Optional[Space]:
        return self._space or super().space(absolute)


def _longest(programs: Mapping[str, Ran], line: str) -> Optional[Ran]:
    fitting = [start for start in programs if line.startswith(start)]
    return programs[max(fitting, key=len)] if fitting else None


def by_name(findings: Iterable[Finding]) -> Dict[str, Finding]:
    """Each finding under its name; what every finding promises is checked on the way."""
    found: Dict[str, Finding] = {}
    for finding in findings:
        assert finding.name not in found, f"{finding.name} is there twice"
        assert finding.fix or finding.level in ("ok", "note"), f"no fix: {finding}"
        found[finding.name] = finding
    return found


def one(findings: Iterable[Finding], name: str) -> Finding:
    """The finding *name*, which must be there."""
    return by_name(findings)[name]
