"""Stands in for ``python -m sightd`` where a test is about who calls it; FAULT in the environment spoils it.

It speaks the same MQTT and writes the same bundle, at once and about nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import List

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from ruamel.yaml import YAML

from sightd.bundle import write_bundle
from sightd.manifest import EngineRecord, Manifest, ModelRecord
from sightd.types import InputSpec

__all__: List[str] = []

FAULT = os.environ.get("FAULT", "")
PERSON = '{"label": "person", "score": 0.875, "box": [1, 2, 3, 4]}'


def main() -> None:
    command, *options = sys.argv[1:]
    if f"{command}-fails" == FAULT:
        sys.exit(f"{command}: out of luck")
    if command == "convert":
        convert(Path(options[options.index("--out") + 1]))
    if command == "run":
        run(Path(options[options.index("--config") + 1]))


def convert(out: Path) -> None:
    disagrees = FAULT == "disagrees"
    engine = out.parent / "engine.onnx"
    engine.write_bytes(b"engine")
    verdict = "float: INT8 disagreed" if disagrees else "int8: agrees with the float model"
    manifest = Manifest(
        engine=EngineRecord("onnxruntime", "fp32" if disagrees else "int8"),
        model=ModelRecord("model.onnx", "0" * 64, 13),
        head="centernet",
        input=InputSpec(8, 8),
        labels=["person"],
        verdict=verdict,
    )
    picture = out.parent / "picture.jpg"
    picture.write_bytes(b"jpeg")
    write_bundle(out, engine, manifest, {"annotated.jpg": picture})
    if disagrees:
        sys.exit(3)


def run(config: Path) -> None:
    settings = YAML(typ="safe").load(config)
    if FAULT == "dies-at-once":
        sys.exit("no engine in the bundle")
    stopping: List[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.append(number))
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    client.connect(settings["mqtt"]["host"], settings["mqtt"]["port"])
    client.loop_start()
    available = f"sightd/{settings['node']}/available"
    client.publish(available, b"online", 1, True).wait_for_publish(10)
    cameras = list(settings["cameras"])[: 3 if FAULT == "a-camera-is-silent" else None]
    for seq in range(10_000):
        publish(client, settings["node"], cameras, seq)
        if seq == 3 and FAULT == "dies-later":
            sys.exit("the engine is gone")
        time.sleep(0.05)
        if stopping:
            break
    if FAULT != "forgets-goodbye":
        client.publish(available, b"stopped", 1, True).wait_for_publish(10)


def publish(client: mqtt.Client, node: str, cameras: List[str], seq: int) -> None:
    """Each camera's frame *seq*, captured 50 ms ago: two persons before the first, nothing before the others."""
    for number, camera in enumerate(cameras):
        objects = "" if number else f"{PERSON}, {PERSON}"
        payload = f'{{"camera": "{camera}", "seq": {seq}, "captured_at": {time.time() - 0.05}, "objects": [{objects}]}}'
        client.publish(f"sightd/{node}/{camera}/detections", payload)


if __name__ == "__main__":
    main()
