"""PyTorch on the GPU, eager and compiled, timed on the graphs that `python -m bench gpu` wrote out.

Run by the interpreter that has PyTorch, which may be another than the bench's: it needs torch and numpy only.
The weights of these models are there as ONNX only, so each graph becomes a torch.fx module of PyTorch's own operators.

    python3 bench/gpu_torch.py GRAPH.npz --batches 1,4,8,16 --device cuda
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Callable, Dict, List, Mapping

import numpy as np
import torch
import torch.fx
from torch.nn import functional

_ROUNDS = 50


def main() -> None:
    """Print one JSON object: what was measured of one graph."""
    parser = argparse.ArgumentParser()
    parser.add_argument("graph")
    parser.add_argument("--batches", default="1,4,8,16")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    batches = [int(batch) for batch in arguments.batches.split(",")]
    print(json.dumps(_measured(np.load(arguments.graph), batches, arguments.device, not arguments.no_compile)))


def _measured(stored: Mapping[str, Any], batches: List[int], device: str, compiled: bool) -> Dict[str, Any]:
    graph = json.loads(str(stored["graph"]))
    before = _free(device)
    module = _module(graph, stored).to(device).eval()
    found: Dict[str, Any] = {"torch": torch.__version__, "device": _name(device)}
    shape = graph["shape"]
    with torch.inference_mode():
        image = torch.from_numpy(stored["picture"]).to(device)
        got = module(image)
        found["worst_difference"] = max(
            float((one.cpu() - torch.from_numpy(stored[f"expected{index}"])).abs().max())
            for index, one in enumerate(got)
        )
        ways: Dict[str, Callable[..., Any]] = {"eager_fp32": module}
        if compiled:
            ways["compile_fp32"] = torch.compile(module)
        for name, way in ways.items():
            try:
                found[name] = {
                    str(batch): _timed(way, torch.rand([batch, *shape], device=device) * 255) for batch in batches
                }
            except Exception as error:  # torch.compile may lack a compiler: the eager figures stay
                found[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
            if name == "eager_fp32":
                found["memory_mb"] = round((before - _free(device)) / 2**20, 1)
    return found


def _timed(way: Callable[..., Any], pictures: Any) -> Dict[str, float]:
    """From pictures that are on the GPU to results that are, ms."""
    for _ in range(5):
        way(pictures)
    times = [_once(way, pictures) for _ in range(_ROUNDS)]
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        way(pictures)
    _wait(pictures)
    elapsed = time.perf_counter() - began
    p50, p95 = np.percentile(times, [50, 95])
    each = len(pictures) * _ROUNDS / elapsed
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3), "pictures_s": round(each, 1)}


def _once(way: Callable[..., Any], pictures: Any) -> float:
    if not pictures.is_cuda:
        began = time.perf_counter()
        way(pictures)
        return 1000 * (time.perf_counter() - began)
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    first.record()
    way(pictures)
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last))


def _wait(pictures: Any) -> None:
    if pictures.is_cuda:
        torch.cuda.synchronize()


def _free(device: str) -> int:
    if device != "cuda":
        return 0
    torch.cuda.init()
    torch.zeros(1, device=device)  # the context itself is in both engines' bill or in none
    return int(torch.cuda.mem_get_info()[0])


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


def _module(graph: Mapping[str, Any], stored: Mapping[str, Any]) -> Any:
    """The graph as a module; weights are its buffers."""
    root = torch.nn.Module()
    trace = torch.fx.Graph()
    values: Dict[str, Any] = {graph["input"]: trace.placeholder("pictures")}
    constants: Dict[str, Any] = {}
    for index, name in enumerate(graph["weights"]):
        constants[name] = stored[f"weight{index}"]
        if constants[name].dtype == np.float32:
            root.register_buffer(f"weight{index}", torch.from_numpy(constants[name]))
            values[name] = trace.get_attr(f"weight{index}")
    for node in graph["nodes"]:
        inputs = [values.get(name) for name in node["inputs"]]
        numbers = [constants[name].tolist() if name in constants else None for name in node["inputs"]]
        function, positional = _OPERATORS[node["operator"]](inputs, numbers, node["attributes"])
        values[node["output"]] = trace.call_function(function, positional)
    trace.output(tuple(values[name] for name in graph["outputs"]))
    return torch.fx.GraphModule(root, trace)


def _conv(inputs: List[Any], numbers: List[Any], given: Mapping[str, Any]) -> Any:
    pads = given.get("pads", [0, 0, 0, 0])
    assert pads[:2] == pads[2:], "only symmetric padding"
    bias = inputs[2] if len(inputs) > 2 else None
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    return functional.conv2d, (inputs[0], inputs[1], bias, strides, pads[:2], dilations, given.get("group", 1))


def _pool(inputs: List[Any], numbers: List[Any], given: Mapping[str, Any]) -> Any:
    return functional.max_pool2d, (inputs[0], given["kernel_shape"], given.get("strides"), given["pads"][:2])


def _slice(inputs: List[Any], numbers: List[Any], given: Mapping[str, Any]) -> Any:
    starts, ends, axes, steps = numbers[1:5]
    where: List[Any] = [slice(None)] * 4
    for start, end, axis, step in zip(starts, ends, axes, steps):
        where[axis] = slice(start, min(end, 2**31), step)
    return _taken, (inputs[0], tuple(where))


def _taken(tensor: Any, where: Any) -> Any:
    return tensor[where]


def _resize(inputs: List[Any], numbers: List[Any], given: Mapping[str, Any]) -> Any:
    assert given["mode"] == "nearest", "only nearest"
    scales = next(value for value in reversed(numbers) if value)
    return _scaled, (inputs[0], [float(scale) for scale in scales[2:]])


def _scaled(tensor: Any, scales: List[float]) -> Any:
    return functional.interpolate(tensor, scale_factor=scales, mode="nearest")


def _reshape(inputs: List[Any], numbers: List[Any], given: Mapping[str, Any]) -> Any:
    return _reshaped, (inputs[0], numbers[1])


def _reshaped(tensor: Any, shape: List[int]) -> Any:
    """The graphs were traced at batch 1: a leading 1 stands for the batch, which one -1 elsewhere must not swallow."""
    sizes = list(tensor.shape)
    wanted = [sizes[index] if size == 0 else size for index, size in enumerate(shape)]
    if wanted[0] == 1 and sizes[0] != 1:
        wanted[0] = sizes[0]
    return tensor.reshape(wanted)


_OPERATORS: Dict[str, Callable[..., Any]] = {
    "Conv": _conv,
    "MaxPool": _pool,
    "Slice": _slice,
    "Resize": _resize,
    "Reshape": _reshape,
    "Sigmoid": lambda inputs, numbers, given: (torch.sigmoid, (inputs[0],)),
    "Add": lambda inputs, numbers, given: (torch.add, (inputs[0], inputs[1])),
    "Mul": lambda inputs, numbers, given: (torch.mul, (inputs[0], inputs[1])),
    "Concat": lambda inputs, numbers, given: (torch.cat, (list(inputs), given["axis"])),
    "Transpose": lambda inputs, numbers, given: (torch.permute, (inputs[0], given["perm"])),
}


if __name__ == "__main__":
    main()
