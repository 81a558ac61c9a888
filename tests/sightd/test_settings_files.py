from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from demo.ports import free_port
from sightd.settings import Settings, json_schema, parse_settings, starter
from sightd.settings.camera_url import normalise
from sightd.settings.strict_yaml import read_document
from sightd.sources import source_for

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_the_sample_file_is_current() -> None:
    assert (CONFIG / "sightd.yaml").read_text("utf-8") == starter({}, {}), (
        "anew: python -c 'from sightd.settings import *; print(starter({}, {}), end=\"\")' > config/sightd.yaml"
    )


def test_the_schema_file_is_current() -> None:
    assert json.loads((CONFIG / "sightd.schema.json").read_text("utf-8")) == json_schema(), (
        "write it anew: sightd check-config --schema > config/sightd.schema.json"
    )


def test_the_sample_file_has_every_key_with_its_default_and_a_comment() -> None:
    text = (CONFIG / "sightd.yaml").read_text("utf-8")
    sample = read_document(text).data or {}
    defaults = parse_settings(b"cameras: {a: {url: x.mp4}}", Path("/c.yaml")).model_dump(mode="json")
    assert sample.pop("cameras") is None
    del defaults["cameras"]
    assert sample.pop("bundle_folders") == ["/opt/sightd/bundles", "."]
    assert defaults.pop("bundle_folders") == ["/opt/sightd/bundles", "/"], "beside the file"
    assert sample == defaults
    lines = text.splitlines()
    for line, above in zip(lines[1:], lines):
        if re.match(r" *[a-z_]+:", line):
            assert above.lstrip().startswith("# "), line


def test_the_sample_file_names_its_schema_for_editors() -> None:
    assert (
        (CONFIG / "sightd.yaml").read_text("utf-8").startswith("# yaml-language-server: $schema=sightd.schema.json\n")
    )


def test_the_examples_in_the_sample_file_are_valid_once_uncommented() -> None:
    head, cameras = (CONFIG / "sightd.yaml").read_text("utf-8").split("\ncameras:\n")
    settings = parse_settings(f"{head}\ncameras:\n{cameras.replace('# ', '')}".encode(), Path("/c.yaml"))
    assert settings.cameras["yard"].labels == ["person", "car"]


def test_a_starter_says_what_it_was_told() -> None:
    url = "rtsp://u:it's \"q\\%23\U0001f600@h/x: #y"
    text = starter({"a": url, "b": "/x y.mp4"}, {"bundle": "/o: 1", "mqtt": {"host": "yes"}})
    data = read_document(text).data or {}
    assert data["cameras"] == {"a": {"url": url}, "b": {"url": "/x y.mp4"}}
    assert (data["bundle"], data["mqtt"]["host"], data["mqtt"]["port"]) == ("/o: 1", "yes", None)


@pytest.mark.parametrize(
    "fault", [{"nod": "x"}, {"node": "a/b"}, {"mqtt": {"port": 0}}, {"cameras": {}}, {"cameras": {"info": {}}}]
)
def test_an_editor_with_the_schema_sees_what_the_loader_sees(fault: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((CONFIG / "sightd.schema.json").read_text("utf-8"))
    good = {
        **(read_document((CONFIG / "sightd.yaml").read_text("utf-8")).data or {}),
        "cameras": {"a": {"url": "x.mp4"}},
    }
    validator = jsonschema.Draft202012Validator(schema)
    assert Settings.model_validate(good)
    assert list(validator.iter_errors(good)) == []
    with pytest.raises(ValueError, match="validation error"):
        Settings.model_validate({**good, **fault})
    assert list(validator.iter_errors({**good, **fault})) != []


def test_mosquitto_accepts_the_broker_file_and_listens_on_loopback_only(tmp_path: Path) -> None:
    mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if mosquitto is None:
        pytest.skip("mosquitto is not installed")
    port = free_port()
    text = (CONFIG / "mosquitto.conf").read_text("utf-8")
    assert re.findall(r"^listener .*", text, re.MULTILINE) == ["listener 1883 127.0.0.1"]
    own = text.replace(" 1883 ", f" {port} ").replace("/var/lib/mosquitto/", f"{tmp_path}/") + "user root\n"
    (tmp_path / "mosquitto.conf").write_text(own)
    with subprocess.Popen([mosquitto, "-c", tmp_path / "mosquitto.conf"], stderr=subprocess.PIPE) as broker:
        try:
            assert _connects(port)
        finally:
            broker.kill()


def _connects(port: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def test_the_examples_of_the_guide_to_cameras_are_right() -> None:
    guide = (Path(__file__).parents[2] / "docs/cameras.md").read_text("utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert examples
    for example in examples:
        settings = parse_settings(example.encode(), Path("/etc/sightd/sightd.yaml"))
        assert settings.cameras["mill"].url.get_secret_value().endswith("! nvvidconv ! video/x-raw,format=BGRx")
    urls = re.findall(
        r"`((?:rtsp|http|v4l2|csi|file)://[^`…]+|/dev/video0|/data/[^`]+)`", guide.partition("Relative")[0]
    )
    assert len(urls) >= 9
    for url in urls:
        assert source_for(normalise(url, Path("/etc"))).live is True
