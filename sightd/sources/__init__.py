"""A camera or a file as a stream of frames: which source reads which address."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from ..errors import SourceError
from ..redact import redact
from ..settings import CameraSettings
from ..settings.camera_url import PIPELINE
from ..settings.device_url import V4l2Camera, csi_camera, is_device, v4l2_camera
from .base import Source
from .fallback import FallbackSource
from .file import PACES, FileSource
from .frames import frames
from .gstreamer import GStreamerSource, has_jetson_decoder
from .pipelines import csi_pipeline, rtsp_pipeline, user_pipeline
from .process import ProcessSource
from .rotated import RotatedSource
from .stream import StreamSource
from .v4l2 import V4l2Source
from .watched import WatchedSource

__all__ = ["ProcessSource", "Source", "WatchedSource", "camera_source", "frames", "source_for"]

_RTSP = ("rtsp", "rtsps")
_HTTP = ("http", "https")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def source_for(
    url: str,
    *,
    pace: str = "live",
    loop: bool = False,
    picture_fps: float = 0.0,
    decoder: str = "auto",
    codec: str = "auto",
    rotate: int = 0,
) -> Source:
    """The closed source that reads *url*: rtsp, rtsps, http, https, v4l2, csi, ``gst:``, file or a plain path.

    :param pace: files only: "live" plays a file as a camera would, "fast" reads it as fast as it is taken.
    :param loop: files only: begin again at the end, for ever.
    :param picture_fps: folders of pictures only: how many make a second; 0: as many as of a usual video.
    :param decoder: RTSP only: "ffmpeg", "gstreamer", or "auto": GStreamer first where it has a Jetson's decoder.
    :param codec: RTSP by GStreamer only: "h264", "h265", "mjpeg", or "auto": what the camera says.
    :param rotate: degrees to turn the pictures clockwise: 0, 90, 180 or 270.
    :raises SourceError: another scheme.
    """
    if pace not in PACES:
        raise ValueError(f"pace is {pace!r}, must be one of {', '.join(PACES)}")
    scheme = _SCHEME.match(url)
    name = scheme.group(1).lower() if scheme else ""
    if url.startswith(PIPELINE):
        source: Source = GStreamerSource(url, user_pipeline(url[len(PIPELINE) :]))
    elif name in _RTSP:
        source = _rtsp(url, decoder, codec)
    elif name in _HTTP:
        source = StreamSource(url)
    elif name in ("v4l2", "csi"):
        source = _device(url, name)
    elif name == "file":
        source = FileSource(unquote(urlsplit(url).path), pace=pace, loop=loop, picture_fps=picture_fps)
    elif name:
        known = ", ".join([*_RTSP, *_HTTP, "v4l2", "csi", "file"])
        raise SourceError(f"{redact(url)}: can't read {name}://, use {known}, {PIPELINE} or a path")
    elif is_device(url):
        source = V4l2Source(V4l2Camera(url))
    else:
        source = FileSource(url, pace=pace, loop=loop, picture_fps=picture_fps)
    return RotatedSource(source, rotate) if rotate else source


def camera_source(camera: CameraSettings) -> Source:
    """The closed source that reads *camera* as its settings say.

    :raises ConfigError: its password can't be read.
    """
    return source_for(
        camera.address(),
        pace=camera.pace,
        loop=camera.loop,
        picture_fps=camera.max_fps,
        decoder=camera.decoder,
        codec=camera.codec,
        rotate=camera.rotate,
    )


def _rtsp(url: str, decoder: str, codec: str) -> Source:
    jetson = decoder != "ffmpeg" and has_jetson_decoder()
    ffmpeg = StreamSource(url)
    if decoder == "ffmpeg" or (decoder == "auto" and not jetson):
        return ffmpeg
    gstreamer = GStreamerSource(url, rtsp_pipeline(url, codec, jetson=jetson))
    return FallbackSource(gstreamer, ffmpeg) if decoder == "auto" else gstreamer


def _device(url: str, scheme: str) -> Source:
    try:
        if scheme == "v4l2":
            return V4l2Source(v4l2_camera(url))
        return GStreamerSource(url, csi_pipeline(csi_camera(url)))
    except ValueError as error:
        raise SourceError(f"{url}: {error}") from error
