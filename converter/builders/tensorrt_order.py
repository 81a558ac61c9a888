"""What the converter and the process that builds TensorRT engines say to each other.

The converter writes one order, then the pictures that it is asked for; the worker answers with a line of JSON each
time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Tuple, Union

import msgspec

from sightd.errors import BuildError
from sightd.manifest import Profile

__all__ = [
    "Cache",
    "Facts",
    "Failed",
    "Finished",
    "Message",
    "Order",
    "Problem",
    "Step",
    "TensorRtOptions",
    "Wanted",
    "decode_message",
    "read_order",
    "write_order",
]

_LENGTH = struct.Struct(">Q")


@dataclass(frozen=True)
class TensorRtOptions:
    """What people may set about a build; the defaults suit most machines."""

    #: Names of trt.TacticSource to use, none but them; None leaves the choice to TensorRT.
    tactic_sources: Optional[Tuple[str, ...]] = None
    #: Names of trt.PreviewFeature to switch on.
    preview_features: Tuple[str, ...] = ()
    #: At most; 0 takes what the free memory allows.
    workspace_mb: int = 0
    #: The deep learning accelerator (DLA) to build for, with the GPU for what it can't do; None: the GPU alone.
    dla_core: Optional[int] = None
    #: The engine runs on every GPU from Ampere on, more slowly.
    hardware_compatible: bool = False
    #: The engine runs with later TensorRT of the same major version.
    version_compatible: bool = False
    #: 0 to 5: how long TensorRT searches (8.6 and later); None: its default.
    optimization_level: Optional[int] = None
    #: What is imported as TensorRT.
    module: str = "tensorrt"
    #: "8.6": build for such a GPU, without touching one here (TensorRT-RTX only).
    compute_capability: str = ""
    #: Where TensorRT calibrates, its input is float32 0..255: not every version may take uint8 there.
    float_input: bool = True


class Order(msgspec.Struct, frozen=True):
    """One build; without a graph only the facts are asked for. Paths are absolute."""

    options: TensorRtOptions
    onnx: str = ""
    plan: str = ""
    #: "int8", "fp16" or "fp32".
    precision: str = "fp32"
    profile: Profile = Profile()
    #: Identical optimisation profiles.
    copies: int = 1
    #: The graph itself says what computes in which precision: TensorRT 11 and TensorRT-RTX.
    typed: bool = False
    #: Of the workspace that the free memory allows.
    share: float = 1.0
    #: The names of all nodes of the graph, and of those that must compute in FP16 or FP32 (not where typed).
    nodes: List[str] = []
    half_nodes: List[str] = []
    float_nodes: List[str] = []
    #: Whether a layer that can't compute as asked is an error.
    obey: bool = True
    #: "entropy" or "minmax": who calibrates; "": nobody, it is not INT8 or the graph holds the scales.
    calibrator: str = ""
    #: A calibration cache instead of pictures.
    cache: bytes = b""
    #: So many pictures [H, W, 3] uint8 can be asked for.
    pictures: int = 0
    height: int = 0
    width: int = 0
    #: The graph's input is float32 of the same values.
    float_input: bool = False
    #: A file that may be there, and is written.
    timing_cache: str = ""


class Facts(msgspec.Struct, frozen=True, tag="facts"):
    """The first message: TensorRT and the machine as the worker finds them."""

    #: "8.5.2.2".
    release: str
    #: Whether this TensorRT calibrates; else the graph must hold the scales.
    calibrates: bool
    #: Whether it tells how far it is (10 and later).
    tells: bool
    #: As sightd.engines.cuda.Cuda has them; empty where no GPU is touched.
    cuda: str = ""
    sm: str = ""
    device: str = ""
    integrated: bool = False
    free_mb: int = 0

    @property
    def version(self) -> Tuple[int, ...]:
        """As numbers: text compares 10.3 below 8.5."""
        return tuple(int(part) for part in self.release.split(".") if part.isdigit())


class Wanted(msgspec.Struct, frozen=True, tag="wanted"):
    """Send so many pictures now."""

    pictures: int


class Step(msgspec.Struct, frozen=True, tag="step"):
    """So much of the building is done, 0 to 1."""

    fraction: float


class Cache(msgspec.Struct, frozen=True, tag="cache"):
    """The calibration is complete, this is its result."""

    content: bytes


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The plan is written."""

    seconds: float
    peak_rss_mb: float
    #: As :attr:`converter.builders.base.Built.layers`.
    layers: Dict[str, int]
    notes: List[str]


class Problem(msgspec.Struct, frozen=True):
    """What TensorRT's parser has against the graph."""

    #: Its number in the graph; -1: none in particular.
    node: int
    reason: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """No plan, and why."""

    #: "memory", "implementation", "graph", "refused", "calibration", "cancelled", "crash" or "build".
    kind: str
    reason: str
    #: TensorRT's last warnings and errors.
    log: List[str] = []
    problems: List[Problem] = []


Message = Union[Facts, Wanted, Step, Cache, Finished, Failed]
_DECODER: Any = msgspec.json.Decoder(Message)


def decode_message(line: bytes) -> Message:
    """:raises msgspec.MsgspecError: the line is no message."""
    message: Message = _DECODER.decode(line)
    return message


def write_order(stream: BinaryIO, order: Order) -> None:
    """Write the whole order to an unbuffered *stream*."""
    content = msgspec.json.encode(order)
    data = memoryview(_LENGTH.pack(len(content)) + content)
    while data:  # an unbuffered pipe may take a part
        data = data[stream.write(data) :]


def read_order(read: Callable[[int], bytes]) -> Order:
    """The order that :func:`write_order` wrote.

    :param read: reads exactly so many bytes, fewer at the end only.
    :raises BuildError: the stream ended before.
    """
    head = read(_LENGTH.size)
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
    content = read(length)
    if not length or len(content) < length:
        raise BuildError("the order is cut off: its sender has gone")
    return msgspec.json.decode(content, type=Order)
