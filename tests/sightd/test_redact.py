from __future__ import annotations

import pytest

from sightd.redact import redact


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:canary@10.0.0.1:554/stream",
        "can't open 'rtsp://admin:canary@cam/1' (timeout)",
        "two: rtsp://a:canary@x/1 and rtsp://b:canary@y/2",
        "rtsp://admin:can@canary@cam/1",
        "rtsp://:canary@cam/1",
        "rtsp://admin:can/canary@cam/1",
        "http://cam/video?user=admin&password=canary&fps=5",
        "HTTP://cam/video?TOKEN=canary",
        'rtspsrc location="rtsp://admin:can nary/canary@cam/1" ! fakesink',
        "rtspsrc location=rtsp://cam/1 user-id=admin user-pw=canary ! fakesink",
        'rtspsrc user-pw = "cana\\"ry canary" ! fakesink',
        "rtspsrc user-pw=(string)ca\\ canary ! fakesink",
        "srtsrc passphrase='a canary' ! fakesink",
        "rtsp://cam/user=admin_password=canary_channel=1_stream=0.sdp",
    ],
)
def test_a_secret_never_survives(text: str) -> None:
    assert "canary" not in redact(text)
    assert "***" in redact(text)


def test_the_rest_of_the_text_stays_readable() -> None:
    assert redact("rtsp://admin:canary@cam:554/1 timed out") == "rtsp://admin:***@cam:554/1 timed out"


@pytest.mark.parametrize("text", ["rtsp://cam:554/stream", "a: b@c", "mail to me@here: now"])
def test_text_without_a_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text
