"""`python -m bench NAME [--json] [--quick]`: one question a bench, ratios measured in one run."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Dict

from .result import show

_BENCHES = {
    "accuracy": "AP of each model on labelled images: as given, finished, INT8; and the verdict on naive INT8",
    "fastestdet": "FastestDet's AP by ways of resizing and NMS: which of them its reference figures are",
    "shapes": "a detector of ours on generated pictures, no assets needed: AP by truth in float, INT8 and naive INT8",
    "selection": "the choice of calibration frames against random ones: coverage, activations seen, the INT8 engine",
    "gate": "the agreement gate against planted faults and honest engines, told apart by labels that it never sees",
    "conversion": "a whole conversion beside ONNX Runtime's own quantize_static: time, memory, AP, the gate's word",
    "calibration-memory": "peak memory of the ranges pass at 64 and at 512 frames",
    "speedup": "INT8 against float in a conventional convolutional detector with SiLU",
    "pipeline": "throughput of the whole daemon as a share of the bare engine's, CPU time a frame by stage",
    "models": "two models on four cameras, each as a share of its bare engine; what a classifier costs",
    "tracker": "how well objects are followed, in a real clip and in generated ones, and the time a frame",
    "latency": "from a frame's capture to its message at a subscriber, four live streams",
    "outbox": "events a second through the durable outbox to mosquitto, and through paho alone in memory",
    "gpu": "TensorRT on a real GPU: AP, latency, PyTorch beside it, copies, memory, the daemon (docs/gpu.md)",
    "chaos": "cameras, broker, network, disk and daemon broken in turn: lost, duplicates, seconds until it is back",
    "threads": "one picture on all cores against one picture a core, ONNX Runtime",
}
#: Of those that are not called like their bench.
_FILES = {"models": "several_models"}  # bench/models.py has the real detectors


def main() -> None:
    """Run one bench, or list them."""
    listing = "\n".join(f"  {name:<12}{question}" for name, question in _BENCHES.items())
    parser = argparse.ArgumentParser(
        "python -m bench", epilog=f"benches:\n{listing}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=list(_BENCHES))
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--quick", action="store_true", help="less data, less certain")
    chaos = parser.add_argument_group("chaos only")
    chaos.add_argument(
        "--soak", type=float, default=0.0, metavar="MINUTES", help="a fault every 10 s for so long instead"
    )
    own = parser.add_argument_group("gpu only; --parts also chaos")
    own.add_argument("--torch-python", default=sys.executable, metavar="PROGRAM", help="the interpreter with PyTorch")
    own.add_argument("--work", type=Path, metavar="FOLDER", help="keeps the engines for a later run")
    own.add_argument("--parts", default="", metavar="A,B", help="these parts alone")
    own.add_argument("--models", default="", metavar="A,B", help="these models alone")
    own.add_argument("--engines", default="", metavar="A,B", help="build these engines alone")
    own.add_argument("--out", type=Path, metavar="FILE", help="the JSON, written after each part and gone on with")
    own.add_argument("--rehearse", action="store_true", help="on a fake GPU: its figures mean nothing")
    arguments = parser.parse_args()
    if arguments.name is None:
        parser.print_help()
        return
    file = _FILES.get(arguments.name, arguments.name.replace("-", "_"))
    module = import_module(f"bench.{file}")
    show(module.run(arguments.quick, **_own(arguments)), arguments.json)


def _own(arguments: argparse.Namespace) -> Dict[str, Any]:
    """What one bench alone is told."""
    if arguments.name == "chaos":
        return {"soak_minutes": arguments.soak, "scenarios": list(filter(None, arguments.parts.split(",")))}
    return _of_gpu(arguments) if arguments.name == "gpu" else {}


def _of_gpu(arguments: argparse.Namespace) -> Dict[str, Any]:
    return {
        "torch_python": arguments.torch_python,
        "work": arguments.work,
        **{name: list(filter(None, getattr(arguments, name).split(","))) for name in ("parts", "models", "engines")},
        "out": arguments.out,
        "rehearse": arguments.rehearse,
    }


if __name__ == "__main__":
    main()
