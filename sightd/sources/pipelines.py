"""GStreamer's pipelines as text: ours for RTSP and CSI cameras, the user's made complete, and what errors mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Tuple

from ..settings.device_url import CsiCamera
from .network import STALLED_S, credentials

__all__ = ["JETSON_ELEMENTS", "PipelineText", "csi_pipeline", "explained", "rtsp_pipeline", "user_pipeline"]

#: A Jetson's decoder, and what brings its pictures into the CPU's memory.
JETSON_ELEMENTS = ("nvv4l2decoder", "nvvidconv")

_SINK = "sightd"
#: The newest picture only, at once: an old one is of no use to a detector.
_APPSINK = f"appsink name={_SINK} max-buffers=1 drop=true sync=false"
_TIMEOUT_US = round(1e6 * STALLED_S)
#: How long packets may be put in order; over TCP they are, but some cameras leave gaps that have to be waited out.
_LATENCY_MS = 100

_DEPAY = {"h264": "rtph264depay ! h264parse", "h265": "rtph265depay ! h265parse", "mjpeg": "rtpjpegdepay"}
_SOFTWARE = {"h264": "avdec_h264", "h265": "avdec_h265", "mjpeg": "jpegdec"}
_JETSON = {"h264": "nvv4l2decoder", "h265": "nvv4l2decoder", "mjpeg": "jpegdec"}
#: Whole pictures: of the parts of one, the headers would pass for a key frame.
_GATE = (
    'capsfilter name=gate caps="video/x-h264,alignment=au;video/x-h265,alignment=au;'
    'image/jpeg;video/mpeg;video/x-av1;video/x-vp8;video/x-vp9"'
)
_TO_CPU = "nvvidconv ! video/x-raw,format=BGRx"

#: Debian's and JetPack's package of an element, by the beginning of its name; the first that fits.
_PACKAGES = (
    ("nv", "nvidia-l4t-gstreamer (JetPack's)"),
    ("avdec_", "gstreamer1.0-libav"),
    ("videoconvert", "gstreamer1.0-plugins-base"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("decodebin", "gstreamer1.0-plugins-base"),
    ("parsebin", "gstreamer1.0-plugins-base"),
    ("h26", "gstreamer1.0-plugins-bad"),
    ("rtsp", "gstreamer1.0-plugins-good"),
    ("rtp", "gstreamer1.0-plugins-good"),
    ("jpeg", "gstreamer1.0-plugins-good"),
    ("v4l2", "gstreamer1.0-plugins-good"),
    ("souphttpsrc", "gstreamer1.0-plugins-good"),
    ("x264", "gstreamer1.0-plugins-ugly"),
)


@dataclass(frozen=True)
class PipelineText:
    """A pipeline with its appsink, and what is put into it besides."""

    text: str = field(repr=False)
    sink: str = _SINK
    #: The element before the decoder, where nothing may pass before a key frame; "": none.
    gate: str = ""
    #: It is the user's, and may give a picture every few seconds only.
    may_be_slow: bool = False
    #: (element, property, text): what must not stand in *text*.
    secrets: Tuple[Tuple[str, str, str], ...] = field(default=(), repr=False)


def rtsp_pipeline(url: str, codec: str, *, jetson: bool) -> PipelineText:
    """Over TCP; the address and the password are set apart from the text, which so needs no quoting.

    :param codec: h264, h265 or mjpeg; "auto": as the camera says.
    :param jetson: decode with the Jetson's decoder.
    """
    source = (
        f"rtspsrc name=camera protocols=tcp latency={_LATENCY_MS} timeout={_TIMEOUT_US} tcp-timeout={_TIMEOUT_US}"
        # Cameras sign their own certificates; FFmpeg does not look at them either.
        " tls-validation-flags=0 ! application/x-rtp,media=video"
    )
    depay = _DEPAY.get(codec, "parsebin")
    decode = (_JETSON if jetson else _SOFTWARE).get(codec, "decodebin")
    # What decodebin takes on a Jetson is its own decoder, if only it can decode the stream at all.
    convert = f"{_TO_CPU} ! videoconvert" if jetson else "videoconvert"
    text = f"{source} ! {depay} ! {_GATE} ! {decode} ! {convert} ! {_APPSINK}"
    location, user, password = credentials(url)
    given = {"location": location, "user-id": user, "user-pw": password}
    return PipelineText(text, gate="gate", secrets=tuple(("camera", *pair) for pair in given.items() if pair[1]))


def csi_pipeline(camera: CsiCamera) -> PipelineText:
    """Through nvargus-daemon, turned by the Jetson's video converter."""
    mode = "" if camera.mode is None else f" sensor-mode={camera.mode}"
    caps = "video/x-raw(memory:NVMM)"
    if camera.size is not None:
        caps += f",width={camera.size[0]},height={camera.size[1]}"
    if camera.fps is not None:
        caps += f",framerate={_fraction(camera.fps)}"
    convert = _TO_CPU.replace("nvvidconv", f"nvvidconv flip-method={camera.flip}")
    text = f"nvarguscamerasrc sensor-id={camera.sensor}{mode} ! {caps} ! {convert} ! videoconvert ! {_APPSINK}"
    return PipelineText(text)


def _fraction(fps: float) -> str:
    """30 as 30/1, and 29.97 as the 30000/1001 that it stands for."""
    ntsc = Fraction(round(fps) * 1000, 1001)
    rate = ntsc if abs(ntsc - fps) < 0.005 else Fraction(fps).limit_denominator(100)
    return f"{rate.numerator}/{rate.denominator}"


def user_pipeline(text: str) -> PipelineText:
    """*text* as the user wrote it, with an appsink for the newest picture in BGR where it has none."""
    given = re.search(r"(?:^|[!\s])appsink\b(?P<properties>[^!]*)", text)
    if given is None:
        return PipelineText(f"{text.rstrip(' !')} ! videoconvert ! {_APPSINK}", may_be_slow=True)
    name = re.search(r"\bname=([\w-]+)", given.group("properties"))
    if name is not None:
        return PipelineText(text, sink=name.group(1), may_be_slow=True)
    begins = given.start("properties")
    return PipelineText(f"{text[:begins]} name={_SINK}{text[begins:]}", may_be_slow=True)


def explained(message: str) -> str:
    """What GStreamer said, and what to do about it where that is known."""
    missing = re.search(r'no element "([^"]+)"', message)
    if missing is not None:
        name = missing.group(1)
        package = next((package for begin, package in _PACKAGES if name.startswith(begin)), "")
        where = f"sudo apt install {package}" if package else "install the plug-in that has it, or correct its name"
        return f"GStreamer has no element {name}; {where}"
    decoder = re.search(r"Missing (?:decoder|parser): ([^(\n]+)", message)
    if decoder is not None:
        packages = "gstreamer1.0-libav gstreamer1.0-plugins-bad"
        return f"GStreamer can't decode {decoder.group(1).strip()}; sudo apt install {packages}"
    if "Unauthorized" in message:
        return "the camera refuses: check the user and the password"
    if re.search(r"\bNot [Ff]ound\b", message):
        return "there is no such stream: check the path"
    if "could not link" in message or "not-negotiated" in message:
        return f"{message}; what comes before the sink must be BGR in the CPU's memory, see docs/cameras.md"
    return message
