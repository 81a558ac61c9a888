"""ONNX Runtime's own quantize_static as a program: a float graph and pictures in, an INT8 graph out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from sightd.resize import resize_into
from sightd.types import InputSpec

__all__: List[str] = []


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """One prepared picture at a time."""

    def __init__(self, files: List[Path], name: str, spec: InputSpec) -> None:
        self._inputs = self._prepared(files, name, spec)

    def get_next(self) -> Optional[Dict[str, NDArray[np.uint8]]]:
        return next(self._inputs, None)

    @staticmethod
    def _prepared(files: List[Path], name: str, spec: InputSpec) -> Iterator[Dict[str, NDArray[np.uint8]]]:
        for file in files:
            pixels = np.empty((1, spec.height, spec.width, 3), np.uint8)
            resize_into(pixels[0], np.asarray(cv2.imread(str(file)), np.uint8), spec)
            yield {name: pixels}


def _main() -> None:
    parser = argparse.ArgumentParser("python -m bench.rival")
    parser.add_argument("method", choices=[method.name for method in CalibrationMethod])
    parser.add_argument("model", type=Path)
    parser.add_argument("--input", required=True, help="The input's name.")
    parser.add_argument("--spec", required=True, help="InputSpec as JSON.")
    parser.add_argument("--pictures", type=Path, required=True, help="Taken in the order of their names.")
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--exclude", nargs="*", default=[], help="Names of nodes that stay float.")
    parser.add_argument("--out", type=Path, required=True)
    _quantize(parser.parse_args())


def _quantize(arguments: argparse.Namespace) -> None:
    files = sorted(arguments.pictures.iterdir())[: arguments.frames]
    spec = msgspec.json.decode(arguments.spec, type=InputSpec)
    prepared = arguments.out.with_suffix(".prepared.onnx")
    quant_pre_process(arguments.model, prepared, skip_symbolic_shape=True)  # it gives up on the finished graph
    quantize_static(
        prepared,
        arguments.out,
        _Pictures(files, arguments.input, spec),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=arguments.exclude,
        calibrate_method=CalibrationMethod[arguments.method],
    )


if __name__ == "__main__":
    _main()
