"""Video4Linux: what its URL says, what is asked of the driver, what goes wrong. There is no camera to open here."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

import cv2
import numpy as np
import pytest

from sightd.errors import SourceError
from sightd.settings.camera_url import normalise
from sightd.settings.device_url import CsiCamera, V4l2Camera, csi_camera, v4l2_camera
from sightd.sources import source_for
from sightd.types import Image

MJPG = float(cv2.VideoWriter.fourcc(*"MJPG"))
WANTED = "v4l2:///dev/null?width=1280&height=720&fps=30&format=mjpg"


class Driver:
    """Stands in for cv2.VideoCapture on a device: a driver that knows one size only."""

    opened: List[Tuple[str, int]]
    asked: List[Tuple[int, float]]
    has: Dict[int, float]
    pictures = 2

    def __init__(self) -> None:
        type(self).opened, type(self).asked = [], []

    def open(self, path: str, backend: int) -> bool:
        self.opened.append((path, backend))
        return True

    def set(self, number: int, value: float) -> bool:
        self.asked.append((number, value))
        return True

    def get(self, number: int) -> float:
        return self.has.get(number, dict(self.asked).get(number, 0.0))

    def grab(self) -> bool:
        self.pictures -= 1
        return self.pictures >= 0

    def retrieve(self, _into: object = None) -> Tuple[bool, Image]:
        return True, np.zeros((720, 1280, 3), np.uint8)

    def release(self) -> None:
        self.pictures = 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> type:
    Driver.has = {}
    monkeypatch.setattr(cv2, "VideoCapture", Driver)
    return Driver


def test_the_driver_is_asked_for_the_format_first(driver: type) -> None:
    source = source_for(WANTED)
    source.open()
    assert source.grab()
    assert source.retrieve().shape == (720, 1280, 3)
    assert Driver.opened == [("/dev/null", cv2.CAP_V4L2)]
    assert Driver.asked == [
        (cv2.CAP_PROP_FOURCC, MJPG),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280.0),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720.0),
        (cv2.CAP_PROP_FPS, 30.0),
    ]
    with pytest.raises(SourceError, match=r"/dev/null: no picture for .*: check the plug"):
        source.grab()
    source.close()
    with pytest.raises(SourceError, match="not open"):
        source.grab()


def test_without_wishes_nothing_is_asked_for(driver: type) -> None:
    source_for("v4l2:///dev/null").open()
    assert (Driver.opened, Driver.asked) == ([("/dev/null", cv2.CAP_V4L2)], [])


def test_what_the_driver_gives_instead_is_told(driver: type, caplog: pytest.LogCaptureFixture) -> None:
    Driver.has = {
        cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"YUYV")),
        cv2.CAP_PROP_FRAME_WIDTH: 640.0,
        cv2.CAP_PROP_FPS: 29.97,
    }
    source = source_for(WANTED)
    for _ in range(2):
        source.open()
    assert caplog.text.count("/dev/null: wanted MJPG, the driver gives YUYV") == 1, "not at every reconnection"
    assert "wanted width 1280, the driver gives width 640" in caplog.text
    assert "height" not in caplog.text
    assert "fps" not in caplog.text, "as good as 30"


def test_one_that_gives_nothing_is_an_error(driver: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Driver, "pictures", 0)
    with pytest.raises(SourceError, match="gives no picture: check its format, try format=MJPG"):
        source_for("v4l2:///dev/null").open()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/dev/video99", r"no such device: check the plug; there are "),
        ("/dev/null", r"can't be opened: is it in use by another program"),
        ("/dev/shm", r"is no device"),
    ],
)
def test_what_is_no_camera_is_refused_by_the_real_opencv(path: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        source_for(f"v4l2://{path}?width=640&height=480").open()


def test_a_path_may_stand_for_its_url() -> None:
    for path in ("/dev/video99", "/dev/v4l/by-id/usb-gone-index0"):
        with pytest.raises(SourceError, match="no such device"):
            source_for(path).open()
    with pytest.raises(SourceError, match="no such file"):
        source_for("/dev/shm/gone.mp4").open()


class TestUrl:
    def test_says_what_is_wanted(self) -> None:
        assert v4l2_camera("v4l2:///dev/v4l/by-id/usb-Cam%201") == V4l2Camera("/dev/v4l/by-id/usb-Cam 1")
        assert v4l2_camera(WANTED) == V4l2Camera("/dev/null", (1280, 720), 30.0, "MJPG")
        assert csi_camera("csi://1") == CsiCamera(1)
        given = "csi://0?width=1920&height=1080&fps=29.97&flip=2&mode=3"
        assert csi_camera(given) == CsiCamera(0, (1920, 1080), 29.97, 2, 3)

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("v4l2://dev/video0", "three slashes and a device file: v4l2:///dev/video0"),
            ("v4l2:///home/video0", "three slashes"),
            ("v4l2:///dev/video0?widht=640", "has no option 'widht'; did you mean 'width'?"),
            ("v4l2:///dev/video0?flip=2", "has no option 'flip'; there are width, height, fps, format"),
            ("v4l2:///dev/video0?width=640", "width and height go together"),
            ("v4l2:///dev/video0?width=640&height=0", "height must be a whole number of pixels"),
            ("v4l2:///dev/video0?fps=fast", "fps must be a number of frames a second"),
            ("v4l2:///dev/video0?format=JPG", "format must be four letters as MJPG or YUYV"),
            ("csi:///dev/video0", "has the sensor's number: csi://0"),
            ("csi://front", "has the sensor's number"),
            ("csi://0?flip=8", "flip must be nvvidconv's flip-method, 0 to 7"),
        ],
    )
    def test_that_is_wrong_is_refused_in_the_settings_and_in_the_source(
        self, url: str, says: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match=says.replace("?", r"\?")):
            normalise(url, tmp_path)
        with pytest.raises(SourceError, match=says.replace("?", r"\?")):
            source_for(url)
