"""TensorRT on a real GPU: what the engines find, how fast they and the daemon are, beside PyTorch on the same GPU.

Each part is caught by itself and the whole result is written after each, so that neither a failure nor a time limit
loses what was measured before. Engines stay in the folder `--work`: a later run with `--parts` goes on from there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from .assets import asset
from .clips import write_frames
from .gpu_daemon import daemon_latency, daemon_throughput
from .gpu_engines import FLOATS, INT8, NAMES, ModelEngines
from .gpu_graphs import write_graph
from .gpu_speed import engine_speed, memory, overlap, preprocessing
from .models import MODELS
from .result import Result

__all__ = ["run"]

_BATCHES, _STREAMS, _LIVE_STREAMS = (1, 4, 8, 16), (1, 4, 16, 32), (1, 4, 16)
_TORCH_S = 300.0


@dataclass
class _Bench:
    """One run: its models, and what was found so far."""

    models: Sequence[ModelEngines]
    #: Those to build.
    engines: Sequence[str]
    quick: bool
    torch_python: str
    out: Optional[Path]
    figures: Dict[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> ModelEngines:
        """The model that the questions about the engine and the daemon are asked with."""
        return self.models[0]

    @property
    def fastest(self) -> str:
        """The engine for those questions: INT8 where there is one."""
        names = self.first.names()
        return next(name for name in (*INT8, *reversed(FLOATS)) if name in names)

    def each(self, measure: Callable[[ModelEngines], Any]) -> Dict[str, Any]:
        """Model -> what *measure* finds, or what went wrong."""
        return {engines.model.name: _caught(measure, engines) for engines in self.models}


def run(
    quick: bool,
    *,
    torch_python: str = sys.executable,
    work: Optional[Path] = None,
    parts: Sequence[str] = (),
    models: Sequence[str] = (),
    engines: Sequence[str] = (),
    out: Optional[Path] = None,
    rehearse: bool = False,
) -> Result:
    """Three detectors; calibrated on 80 pictures of COCO's training set and frames of four clips.

    :param torch_python: the interpreter that has PyTorch.
    :param work: keeps the engines; None: a temporary folder.
    :param parts: names of _PARTS to run; none: all.
    :param models: names of models; none: all.
    :param engines: names of engines to build, so that several processes can; none: all.
    :param out: a JSON file, read at the beginning and written after each part.
    :param rehearse: with a fake GPU and a fake TensorRT: shows that every line runs, the figures mean nothing.
    """
    with ExitStack() as stack:
        if rehearse:
            from tests.parts.rehearsal import fake_machine

            stack.enter_context(fake_machine())
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        chosen = [one for one in _models(folder, quick) if not models or one.model.name in models]
        bench = _Bench(chosen, engines or NAMES, quick, torch_python, out)
        if out is not None and out.exists():
            bench.figures.update(json.loads(out.read_text("utf-8")))
        bench.figures["fake"] = rehearse
        for name in parts or _PARTS:
            _run_part(bench, name)
    conditions = {"fake": rehearse, "trt": os.environ.get("SIGHTD_TEST_TRT", ""), "images": "coco_val_dev100"}
    title = "gpu (REHEARSAL ON A FAKE GPU: these figures mean nothing)" if rehearse else "gpu"
    return Result(title, bench.figures, ["part", "of", "figures"], _rows(bench.figures), conditions)


def _run_part(bench: _Bench, name: str) -> None:
    began = time.monotonic()
    bench.figures[name] = found = _caught(_PARTS[name], bench)
    seconds = round(time.monotonic() - began, 1)
    bench.figures.setdefault("seconds", {})[name] = seconds
    print(f"{name}: {seconds} s{': ' + found['error'] if 'error' in found else ''}", file=sys.stderr, flush=True)
    if bench.out is not None:
        partial = bench.out.with_suffix(".partial")
        partial.write_text(json.dumps(bench.figures, indent=1), "utf-8")
        partial.replace(bench.out)


def _caught(measure: Callable[[Any], Any], subject: Any) -> Any:
    """What *measure* finds; a failure is a result too, the other parts still count."""
    try:
        return measure(subject)
    except (Exception, SystemExit) as error:
        return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()[-2000:]}


def _models(folder: Path, quick: bool) -> List[ModelEngines]:
    pictures = folder / "pictures"
    if not pictures.exists():
        write_frames(pictures, 20 if quick else 60)
        shutil.copytree(str(asset("images/calib_coco_train80")), str(pictures / "coco"))
    models = MODELS[:1] if quick else MODELS
    return [ModelEngines(model, folder / model.name, pictures, 32 if quick else 160) for model in models]


def _machine(bench: _Bench) -> Dict[str, Any]:
    import tensorrt

    from sightd.engines.cuda import Cuda

    with Cuda() as cuda:
        free, total = cuda.memory()
        found = {"device": cuda.device, "sm": cuda.sm, "cuda": cuda.version, "integrated": cuda.integrated}
    cores = len(os.sched_getaffinity(0))
    return {
        **found,
        "tensorrt": tensorrt.__version__,
        "python": sys.version.split()[0],
        "free_mb": free >> 20,
        "total_mb": total >> 20,
        "cores": cores,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _prepare(bench: _Bench) -> Dict[str, Any]:
    return bench.each(ModelEngines.prepare)


def _builds(bench: _Bench) -> Dict[str, Any]:
    return bench.each(lambda engines: engines.build(bench.engines))


def _ap(bench: _Bench) -> Dict[str, Any]:
    return bench.each(lambda engines: {name: _caught(engines.ap, name) for name in ("cpu", *engines.names())})


def _gate(bench: _Bench) -> Dict[str, Any]:
    return bench.each(ModelEngines.verdicts)


def _latency(bench: _Bench) -> Dict[str, Any]:
    return bench.each(lambda engines: engine_speed(engines, _BATCHES[:2] if bench.quick else _BATCHES))


def _torch(bench: _Bench) -> Dict[str, Any]:
    return bench.each(lambda engines: _torch_speed(engines, bench))


def _torch_speed(engines: ModelEngines, bench: _Bench) -> Dict[str, Any]:
    """Compute alone, pictures and results stay on the GPU: what is kind to PyTorch."""
    graph = engines.folder / "graph.npz"
    if not write_graph(engines.model, graph):
        return {"not applicable": "there are no PyTorch weights, and its operators are not PyTorch's one to one"}
    program = Path(__file__).with_name("gpu_torch.py")
    command = [
        bench.torch_python,
        str(program),
        str(graph),
        "--batches",
        ",".join(map(str, _BATCHES[: 1 if bench.quick else 4])),
    ]
    if bench.figures["fake"]:
        command += ["--device", "cpu", "--no-compile"]
    # Paths of this interpreter's own would have the other one import what it can't load.
    clean = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
    }
    done = subprocess.run(command, capture_output=True, timeout=_TORCH_S, env=clean, check=False)
    if done.returncode != 0:
        return {"error": done.stderr.decode(errors="replace")[-1500:]}
    found: Dict[str, Any] = json.loads(done.stdout.decode().splitlines()[-1])
    return found


def _memory(bench: _Bench) -> Dict[str, Any]:
    return bench.each(memory)


def _overlap(bench: _Bench) -> Dict[str, Any]:
    return {str(batch): overlap(bench.first, bench.fastest, batch) for batch in (1, 8)}


def _preprocessing(bench: _Bench) -> Dict[str, Any]:
    return {str(batch): preprocessing(bench.first, bench.fastest, batch) for batch in (1, 8)}


def _daemon(bench: _Bench) -> Dict[str, Any]:
    streams = _STREAMS[:2] if bench.quick else _STREAMS
    return daemon_throughput(bench.first, bench.fastest, streams, 3.0 if bench.quick else 5.0)


def _daemon_latency(bench: _Bench) -> Dict[str, Any]:
    streams = _LIVE_STREAMS[:2] if bench.quick else _LIVE_STREAMS
    return daemon_latency(bench.first, bench.fastest, streams, 5.0 if bench.quick else 10.0)


#: In the order of what would be missed most; "machine", "prepare" and "builds" are what the others stand on.
_PARTS: Dict[str, Callable[[_Bench], Dict[str, Any]]] = {
    "machine": _machine,
    "prepare": _prepare,
    "builds": _builds,
    "latency": _latency,
    "ap": _ap,
    "torch": _torch,
    "overlap": _overlap,
    "preprocessing": _preprocessing,
    "memory": _memory,
    "daemon": _daemon,
    "daemon_latency": _daemon_latency,
    "gate": _gate,
}


def _rows(figures: Mapping[str, Any]) -> List[Sequence[Any]]:
    rows: List[Sequence[Any]] = []
    for part, found in figures.items():
        if not isinstance(found, dict) or "error" in found:
            rows.append([part, "", found["error"] if isinstance(found, dict) else found])
            continue
        rows += [[part, of, _short(value)] for of, value in found.items()]
    return rows


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items() if key not in ("traceback", "notes"))
    return f"({value})" if isinstance(value, list) else str(value)
