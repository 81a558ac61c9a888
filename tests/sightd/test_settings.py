from __future__ import annotations

from pathlib import Path
from typing import List

import pytest
from pydantic import ValidationError

from sightd.errors import ConfigError
from sightd.settings import Settings, load_settings, parse_settings
from sightd.settings.camera_url import hosts, normalise, shown

CANARY = "hunter2canary"
FILE = Path("/etc/sightd/sightd.yaml")
CAMERA = "cameras: {front: {url: 'rtsp://h/'}}\n"


def parse(text: str) -> Settings:
    return parse_settings(text.encode(), FILE)


def mistakes(text: str) -> list[str]:
    """The error's lines without the file name."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{FILE}:") for line in lines)
    return [line[len(f"{FILE}:") :] for line in lines]


def mistake(text: str) -> str:
    (line,) = mistakes(text)
    return line


# Every mistake at once, each at its line


def test_all_mistakes_of_a_file_are_reported_in_its_order() -> None:
    assert mistakes(
        "log_levl: info\n"
        "mqtt:\n"
        "  hots: broker\n"
        "  port: 70000\n"
        "engine: {threads: -1, threads: 2}\n"
        "camera_defaults:\n"
        "  enabled: 1\n"
        "cameras:\n"
        "  front:\n"
        "    ulr: x.mp4\n"
    ) == [
        "1: log_levl: unknown key; did you mean 'log_level'?",
        "3: mqtt.hots: unknown key; did you mean 'host'?",
        "4: mqtt.port: must be less than or equal to 65535",
        "5: engine.threads: is there twice, first on line 5; remove one",
        "7: camera_defaults.enabled: must be true or false",
        "9: cameras.front.url: is missing",
        "10: cameras.front.ulr: unknown key; did you mean 'url'?",
    ]


def test_the_first_of_two_duplicates_is_checked_at_its_own_line() -> None:
    assert mistakes("mqtt: {port: 0}\nmqtt: {port: 1}\n" + CAMERA) == [
        "1: mqtt.port: must be greater than or equal to 1",
        "2: mqtt: is there twice, first on line 1; remove one",
    ]


def test_an_unknown_key_that_resembles_none_gets_the_list() -> None:
    known = "threads, max_batch, preprocess"
    assert mistake(CAMERA + "engine: {zzz: 1}") == f"2: engine.zzz: unknown key; there are {known}"


def test_a_mistake_in_camera_defaults_is_reported_there_and_once() -> None:
    text = "camera_defaults:\n  max_fps: fast\n  fop: 1\ncameras:\n  a: {url: x.mp4}\n  b: {url: y.mp4}\n"
    assert [line.split(":")[:2] for line in mistakes(text)] == [
        ["2", " camera_defaults.max_fps"],
        ["3", " camera_defaults.fop"],
    ]


def test_a_cameras_own_mistake_is_reported_at_the_camera_although_the_default_is_right() -> None:
    text = "camera_defaults:\n  max_fps: 5\ncameras:\n  a:\n    url: x.mp4\n    max_fps: fast\n"
    assert mistake(text) == "6: cameras.a.max_fps: must be a number"


def test_a_mistake_in_a_list_names_the_item_and_its_line() -> None:
    text = "cameras:\n  a:\n    url: x.mp4\n    labels:\n      - person\n      - 7\n"
    assert mistake(text) == "6: cameras.a.labels[1]: must be text; put it in quotes"


def test_an_enumerated_value_gets_the_list_and_the_nearest() -> None:
    assert mistake(CAMERA + "log_level: inof") == (
        "2: log_level: must be one of debug, info, warning, error; did you mean 'info'?"
    )


@pytest.mark.parametrize("cameras", ["", "cameras:\n", "cameras: {}\n"])
def test_no_camera_says_how_to_write_one(cameras: str) -> None:
    assert "at least one camera is needed, for example front:" in mistake("log_level: info\n" + cameras)


def test_a_section_left_empty_is_a_mistake() -> None:
    assert mistake(CAMERA + "mqtt:\n") == "2: mqtt: has no value; give it one or remove the line"


@pytest.mark.parametrize("cameras", ["[a, b]", "front", "{front: x.mp4}", "{front: [x.mp4]}"])
def test_cameras_of_another_shape_are_a_mistake(cameras: str) -> None:
    assert mistake(f"cameras: {cameras}").endswith("must be 'key: value' lines")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("max_objects: 1.5", "must be a whole number"),
        ("max_objects: '5'", "must be a whole number"),
        ("max_objects: true", "must be a whole number"),
        ("max_objects: 0", "must be greater than or equal to 1"),
        ("nms_iou: 0", "must be greater than 0"),
        ("nms_iou: 1.1", "must be less than or equal to 1"),
        ("nms_iou: true", "must be a number"),
        ("events: {lost_after_s: 0}", "must be greater than 0"),
        ("events: {min_duration_s: -1}", "must be greater than or equal to 0"),
        ("events: {enabled: 1}", "must be true or false"),
        ("events: {lost_after: 3}", "did you mean 'lost_after_s'"),
        ("bundle: 7", "must be a path as text"),
        ("bundle: ''", "must be a path as text"),
        ("node: a/b", "letters, digits"),
        ("node: 12", "must be text; put it in quotes"),
        ("mqtt: {host: 'mqtt://broker'}", "without scheme, port or path"),
        ("mqtt: {host: 'broker:1883'}", "without scheme, port or path"),
        ("mqtt: {host: ''}", "without scheme, port or path"),
        ("mqtt: {fallbacks: b}", "must be a list"),
        ("mqtt: {fallbacks: ['mqtt://b']}", "fallbacks[0]: must be host, host:port, or [address]:port"),
        ("mqtt: {fallbacks: ['b:1883/x']}", "fallbacks[0]: must be host, host:port, or [address]:port"),
        ("mqtt: {fallbacks: ['me@b']}", "fallbacks[0]: must be a host name or an address alone"),
        ("mqtt: {fallbacks: [b, '::1:x']}", "fallbacks[1]: must be host, host:port, or [address]:port"),
        ("mqtt: {fallbacks: ['[b]:1883']}", "fallbacks[0]: must be host, host:port, or [address]:port"),
        ("mqtt: {fallbacks: ['b:70000']}", "fallbacks[0]: has a port that is not 1 to 65535"),
        ("mqtt: {fallbacks: ['b:0']}", "fallbacks[0]: has a port that is not 1 to 65535"),
        ("mqtt: {fallbacks: ['']}", "fallbacks[0]: must be host, host:port, or [address]:port"),
        ("mqtt: {fallbacks: [7]}", "fallbacks[0]: must be text"),
        ("mqtt: {fallbacks: [b, 'b:1883']}", "mqtt: fallbacks: b:1883 is named twice"),
        ("mqtt: {host: b, port: 1884, fallbacks: ['b:1884']}", "mqtt: fallbacks: b:1884 is named twice"),
        ("mqtt: {redirects: any}", "mqtt: redirects: any needs tls.enabled: true"),
        ("mqtt: {redirects: all}", "must be one of configured, any"),
        ("mqtt: {commands: 1}", "must be true or false"),
        ("mqtt: {topic_prefix: /a}", "topic levels"),
        ("mqtt: {topic_prefix: a/}", "topic levels"),
        ("mqtt: {topic_prefix: a//b}", "topic levels"),
        ("mqtt: {topic_prefix: a/+}", "topic levels"),
        ("mqtt: {topic_prefix: 'a#'}", "topic levels"),
        ("mqtt: {topic_prefix: $SYS}", "topic levels"),
        ("mqtt: {topic_prefix: ''}", "topic levels"),
        ("mqtt: {username: ''}", "at least 1 character"),
        ("mqtt: {password: secret}", "needs a username"),
        ("mqtt: {password_file: secret}", "needs a username"),
        ("mqtt: {username: u, password: p, password_file: f}", "excludes password"),
        ("mqtt: {tls: {ca_file: f}}", "mqtt.tls.ca_file: has no effect without enabled: true"),
        ("mqtt: {tls: {enabled: false, cert_file: f}}", "has no effect"),
        ("mqtt: {tls: {enabled: true, cert_file: f}}", "mqtt.tls: cert_file and key_file go together"),
        ("mqtt: {tls: {enabled: true, key_file: f}}", "mqtt.tls: cert_file and key_file go together"),
        ("mqtt: {tls: {insecure: true}}", "mqtt.tls.insecure: unknown key; there are enabled"),
        ("mqtt: {tls: true}", "must be 'key: value' lines"),
        ("camera_defaults: {labels: []}", "at least 1 item"),
        ("camera_defaults: {min_score: 2}", "must be less than or equal to 1"),
        ("camera_defaults: {url: x.mp4}", "unknown key"),
        ("calibration: {enabled: 1}", "must be true or false"),
        ("calibration: {max_age_days: -1}", "must be greater than or equal to 0"),
        ("calibration: {interval_s: 0}", "must be greater than or equal to 1"),
    ],
)
def test_a_value_out_of_bounds_is_a_mistake(line: str, complaint: str) -> None:
    found = mistake(line + "\n" + CAMERA)
    assert found.startswith("1: ")
    assert complaint in found


@pytest.mark.parametrize("host", ["broker", "broker.local.", "10.0.0.7", "::1", "a_b-c"])
def test_host_takes_names_and_addresses(host: str) -> None:
    assert parse(f"mqtt: {{host: '{host}'}}\n{CAMERA}").mqtt.host == host


@pytest.mark.parametrize(
    "name", ["Front", "-a", "a b", "a/b", "a" * 33, "''", "available", "config", "info", "stats", "events", "status"]
)
def test_a_camera_name_that_makes_no_topic_is_refused(name: str) -> None:
    assert "a camera's name is 1 to 32" in mistake(f"cameras: {{{name}: {{url: x.mp4}}}}")


@pytest.mark.parametrize("name", ["a", "0", "007", "yes", "null", "front-door_2", "a" * 32, "information"])
def test_a_camera_name_is_text_whatever_it_looks_like(name: str) -> None:
    assert list(parse(f"cameras: {{{name}: {{url: x.mp4}}}}").cameras) == [name]


# What comes out


def test_defaults_are_what_a_minimal_file_gives() -> None:
    settings = parse(CAMERA)
    assert settings.bundle == Path("/opt/sightd/bundles/default")
    assert (settings.mqtt.host, settings.mqtt.broker_port, settings.mqtt.keepalive_s) == ("127.0.0.1", 1883, 10)
    assert (settings.cameras["front"].max_fps, settings.cameras["front"].pace) == (10.0, "live")


def test_brokers_are_tried_in_the_order_of_the_file() -> None:
    others = "fallbacks: [b, 'c:1884', '2001:db8::1', '[2001:db8::1]:1885']"
    assert parse(f"mqtt: {{host: a, {others}}}\n{CAMERA}").mqtt.addresses == [
        ("a", 1883),
        ("b", 1883),
        ("c", 1884),
        ("2001:db8::1", 1883),
        ("2001:db8::1", 1885),
    ]
    tls = parse(f"mqtt: {{host: a, fallbacks: [b], redirects: any, tls: {{enabled: true}}}}\n{CAMERA}").mqtt
    assert tls.addresses == [("a", 8883), ("b", 8883)]


@pytest.mark.parametrize(
    ("mqtt", "port"),
    [("{}", 1883), ("{tls: {enabled: true}}", 8883), ("{tls: {enabled: true}, port: 1883}", 1883), ("{port: 7}", 7)],
)
def test_with_tls_the_port_is_another_unless_one_is_given(mqtt: str, port: int) -> None:
    assert parse(f"mqtt: {mqtt}\n{CAMERA}").mqtt.broker_port == port


def test_a_camera_overlays_the_defaults_and_null_takes_one_back() -> None:
    settings = parse(
        "camera_defaults: {max_fps: 5, labels: [person]}\n"
        "cameras: {a: {url: a.mp4}, b: {url: b.mp4, max_fps: 0, labels: null}}"
    )
    a, b = settings.cameras["a"], settings.cameras["b"]
    assert (a.max_fps, a.labels) == (5.0, ["person"])
    assert (b.max_fps, b.labels) == (0.0, None)


def test_relative_paths_are_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sightd.yaml").write_text(
        "bundle: bundles/x\nmqtt: {username: u, password_file: secret}\ncameras: {a: {url: yard.mp4}}"
    )
    monkeypatch.chdir(tmp_path)
    settings = load_settings(Path("sightd.yaml"))
    assert settings.bundle == tmp_path / "bundles" / "x"
    assert settings.mqtt.password_file == tmp_path / "secret"
    assert settings.cameras["a"].url.get_secret_value() == str(tmp_path / "yard.mp4")


def test_names_derive_from_the_node() -> None:
    settings = parse("node: box7\n" + CAMERA)
    assert (settings.node_name, settings.topic_prefix, settings.client_id) == ("box7", "sightd/box7", "sightd-box7")


def test_names_given_are_taken_as_they_are() -> None:
    settings = parse("mqtt: {topic_prefix: site/a, client_id: me}\n" + CAMERA)
    assert (settings.topic_prefix, settings.client_id) == ("site/a", "me")


@pytest.mark.parametrize(("host", "node"), [("Jetson.local", "jetson-local"), ("--", "box"), ("öl", "l")])
def test_without_a_node_the_host_name_is_slugged(host: str, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    settings = parse(CAMERA)
    assert settings.node_name == node
    parse(f"node: {node}\n{CAMERA}")  # what is derived could be given


def test_settings_are_frozen() -> None:
    settings = parse(CAMERA)
    with pytest.raises(ValidationError):
        settings.mqtt.port = 1


# Secrets


def test_the_repr_shows_no_secret() -> None:
    settings = parse(
        f"mqtt: {{username: u, password: {CANARY}}}\ncameras: {{a: {{url: 'rtsp://u:{CANARY}@h/?token={CANARY}'}}}}"
    )
    assert CANARY not in repr(settings)
    assert CANARY not in str(settings)
    assert settings.mqtt.read_password() == CANARY
    assert CANARY in settings.cameras["a"].url.get_secret_value()


@pytest.mark.parametrize(
    "text",
    [
        f"mqtt: {{password: [{CANARY}]}}",
        f"mqtt: {{password:{CANARY}}}",
        f"mqtt:\n  password:{CANARY}\n  port: x",
        f"mqtt: {CANARY}",
        f"mqtt: {{host: '{CANARY}:x@'}}",
        f"mqtt: {{password: '{CANARY}}}",
        f'mqtt: {{password: "\\{CANARY}"}}',
        f"mqtt: {{password: @{CANARY}}}",
        f"mqtt: {{password: !{CANARY} x}}",
        f"mqtt: {{password: &{CANARY} x}}",
        f"mqtt: {{password: *{CANARY}}}",
        f"mqtt: {{? [{CANARY}] : 1}}",
        f"cameras: {{a: {{url: 'rtsp://u:{CANARY}/x@h/'}}}}",
        f"cameras: {{a: {{url: 'rtsp://u:1/{CANARY}@h/'}}}}",
        f"cameras: {{a: {{url: 'rtsp://u:#{CANARY}@h/'}}}}",
        f"cameras: {{a: {{url: 'rtsp://u:{CANARY}@[h/'}}}}",
        f"cameras: {{a: {{url: 'rtsp://u:{CANARY}\u2100@h/'}}}}",
        f"cameras: {{a: {{url: 'rtsp://u:{CANARY}@h:99999/'}}}}",
        f"cameras: {{a: {{url: 'rtps://u:{CANARY}@h/'}}}}",
        f"cameras: {{a: {{url: ['rtsp://u:{CANARY}@h/']}}}}",
        f"cameras: {{a: 'rtsp://u:{CANARY}@h/'}}",
        f"cameras: {{'rtsp://u:{CANARY}@h/': {{}}}}",
        f"cameras: {{a: {{labels: {CANARY}}}}}",
        f"log_level: {CANARY}",
    ],
)
def test_no_mistake_shows_a_secret(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_the_password_file_is_read_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{CANARY}\n")
    (tmp_path / "secret").chmod(0o600)
    settings = parse(f"mqtt: {{username: u, password_file: {tmp_path}/secret}}\n{CAMERA}")
    assert settings.mqtt.read_password() == CANARY
    assert parse(CAMERA).mqtt.read_password() is None
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(ConfigError, match="everybody on this machine may read"):
        settings.mqtt.read_password()


# A camera's url


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("rtsp://h", "rtsp://h"),
        ("RTSP://User:Pa%2Fss@H:554/S?a=b", "rtsp://User:Pa%2Fss@H:554/S?a=b"),
        ("rtsps://[::1]:322/x", "rtsps://[::1]:322/x"),
        ("https://h/x.m3u8", "https://h/x.m3u8"),
        ("file:///media/my%20yard.mp4", "/media/my yard.mp4"),
        ("file://localhost/a.mp4", "/a.mp4"),
        ("/media/yard.mp4", "/media/yard.mp4"),
        ("yard.mp4", "/conf/yard.mp4"),
        ("12:30:00.mp4", "/conf/12:30:00.mp4"),
        ("my yard.mp4", "/conf/my yard.mp4"),
        ("pictures/*.jpg", "/conf/pictures/*.jpg"),
        ("/dev/video0", "/dev/video0"),
        ("V4L2:///dev/video0?fps=30", "v4l2:///dev/video0?fps=30"),
        ("csi://0?flip=2", "csi://0?flip=2"),
        ("gst:videotestsrc !\n  videoconvert\n", "gst: videotestsrc !   videoconvert"),
    ],
)
def test_a_url_becomes_independent_of_the_working_folder(url: str, normal: str) -> None:
    assert normalise(url, Path("/conf")) == normal


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "is empty"),
        ("rtsp://h/\n", "control characters"),
        ("rstp://h/", r"did you mean 'rtsp://'\?"),
        ("udp://h:1/", "must begin with rtsp://"),
        ("rtsp:/h/x", "must begin with rtsp://"),
        ("rtsp:h", "must begin with rtsp://"),
        ("rtsp://", "has no host"),
        ("rtsp:///x", "has no host"),
        ("rtsp://u:p@/x", "has no host"),
        ("rtsp://h:port/", "the port is no number"),
        ("rtsp://h:0/", "the port is no number"),
        ("rtsp://h:65536/", "the port is no number"),
        ("rtsp://u:pa/ss@h/", "%2F for /"),
        ("rtsp://u:p#ss@h/", "%23 for #"),
        ("rtsp://u:#pass@h/", "%23 for #"),
        ("rtsp://u:1/pass@h/", "an @ behind the host"),
        ("rtsp://u:p@a/ss@h/", "an @ behind the host"),
        ("rtsp://u:1?pass@h/", "an @ behind the host"),
        ("rtsp://[::1/x", "IPv6"),
        ("rtsp://h/a b", "no spaces"),
        ("file://yard.mp4", "three slashes"),
        ("file:yard.mp4", "must begin with"),
        ("192.0.2.1", "write rtsp:// before it"),
        ("192.0.2.1:554/stream?user=u&password=p", "write rtsp:// before it"),
        ("user:pass@192.0.2.1/stream", "write rtsp:// before it"),
        ("rtsp//user:pa/ss@camera/stream", "write rtsp:// before it"),
        ("//user:pass@camera/stream", "write rtsp:// before it"),
        ("gst:", "write a pipeline as for gst-launch-1.0 behind gst:"),
        ("gst: \n ", "write a pipeline"),
        ("v4l://dev/video0", r"did you mean 'v4l2://'\?"),
    ],
)
def test_a_url_that_can_not_work_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        normalise(url, Path("/conf"))


def test_how_a_camera_is_read_is_one_of_a_few_words() -> None:
    camera = parse("cameras: {yard: {url: rtsp://h/1, rotate: 270, decoder: gstreamer, codec: h265}}").cameras["yard"]
    assert (camera.rotate, camera.decoder, camera.codec) == (270, "gstreamer", "h265")
    wrong = "cameras: {yard: {url: rtsp://h/1, rotate: 45, decoder: nvdec, codec: hevc}}"
    assert mistakes(wrong) == [
        "1: cameras.yard.rotate: must be one of 0, 90, 180, 270",
        "1: cameras.yard.decoder: must be one of auto, ffmpeg, gstreamer",
        "1: cameras.yard.codec: must be one of auto, h264, h265, mjpeg",
    ]


def test_a_camera_is_shown_without_what_may_be_secret() -> None:
    assert shown("rtsp://u:hunter2@cam.lan/1") == "rtsp://u:***@cam.lan/1"
    assert shown('gst: souphttpsrc cookies="session=hunter2" ! decodebin') == "gst: souphttpsrc ..."
    assert shown('gst: "hunter2" ! decodebin') == "gst:  ..."


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("rtsp://u:p@cam.lan:554/1", ["cam.lan"]),
        ("http://[2001:db8::1]/x", ["2001:db8::1"]),
        ("rtsp://u:it's@cam.lan/1", ["cam.lan"]),
        ('gst: rtspsrc location=rtsp://u:p@cam.lan/1 ! x location="http://192.0.2.1/"', ["cam.lan", "192.0.2.1"]),
        ("gst: rtspsrc location=rtsp://[::1 ! x", []),
        (
            'gst: tcpclientsrc host=192.0.2.7 port=5000 ! x host = "cam.lan" ! y hostage=no virtual-host=no',
            ["192.0.2.7", "cam.lan"],
        ),
        ("csi://0?flip=2", []),
        ("v4l2:///dev/video0", []),
        ("/media/yard.mp4", []),
    ],
)
def test_the_hosts_of_a_camera_are_found(url: str, found: List[str]) -> None:
    assert hosts(url) == found


@pytest.mark.parametrize(
    ("masks", "complaint"),
    [
        ("left", "must be a list of masks, each a list of corners [x, y], for example [[["),
        ("[[0, 0], [1, 0], [1, 1]]", "mask 1 must be a list of 3 to 100 corners [x, y]"),
        ("[[[0, 0], [1, 0]]]", "mask 1 must be a list of 3 to 100 corners"),
        (f"[{[[0, 0]] * 101}]", "mask 1 must be a list of 3 to 100 corners"),
        ("[[[0, 0], [1, 0], [1]]]", "mask 1, corner 3 must be [x, y]"),
        ("[[[0, 0], [1, 0], [1, true]]]", "mask 1, corner 3 must be [x, y]"),
        ("[[[0, 0], [1, 0], [1, 1.01]]]", "mask 1, corner 3 is outside the picture: x and y are shares"),
        ("[[[0, 0], [640, 0], [640, 480]]]", "mask 1, corner 2 is outside the picture"),
        ("[[[0, 0], [1, 0], [1, 1]], [[0, 0], [0.5, 0.5], [1, 1]]]", "mask 2 covers nothing"),
        ("[[[0, 0], [1, 1], [1, 0], [0, 1]]]", "mask 1 crosses itself: give its corners in the order"),
    ],
)
def test_a_mask_that_would_not_hide_what_it_was_meant_to_is_a_mistake(masks: str, complaint: str) -> None:
    found = mistake(f"cameras: {{yard: {{url: x.mp4, masks: {masks}}}}}")
    assert found.startswith("1: cameras.yard.masks: ")
    assert complaint in found


def test_masks_are_corners_as_shares_and_each_camera_may_have_its_own() -> None:
    settings = parse(
        "camera_defaults: {masks: [[[0, 0], [1, 0], [1, 0.1], [0, 0.1]]]}\n"
        "cameras: {a: {url: x.mp4}, b: {url: y.mp4, masks: []}}"
    )
    assert settings.cameras["a"].masks == [((0.0, 0.0), (1.0, 0.0), (1.0, 0.1), (0.0, 0.1))]
    assert settings.cameras["b"].masks == []
