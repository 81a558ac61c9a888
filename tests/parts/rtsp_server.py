"""An RTSP server for tests, run by the system's Python (it has GStreamer's bindings): PORT USER PASSWORD TLS MOUNT...

TLS is CERTIFICATE:KEY or empty; then rtsp is spoken in the clear.

Mount i is served as /i. ``clock:FPS[:GOP[:CODEC[:SIZE,SIZE...]]]`` is a picture of the current time, in h264, h265 or
mjpeg, that takes the next SIZE (as 320x240) every second; ``FILE`` is that clip in a loop, without encoding it again
when it is H.264. Prints READY once it listens. SIGUSR1 stops the clocks, SIGUSR2 lets them go on.
"""

import itertools
import signal
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstPbutils", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstApp, GstPbutils, GstRtsp, GstRtspServer  # noqa: E402, F401  (after require_version)

CLOCK_SIZE = "320x240"
ACCESS_UNITS = "video/x-h264,stream-format=byte-stream,alignment=au"
ENCODE = "x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={gop} bitrate={kbps}"
PAY = "h264parse ! rtph264pay name=pay0 pt=96 config-interval=1"
CODECS = {
    "h264": f"{ENCODE} ! {PAY}",
    # One frame thread: with more it gives out a picture only after the next ones came in.
    "h265": (
        "x265enc tune=zerolatency speed-preset=ultrafast key-int-max={gop} bitrate={kbps} "
        "option-string=pools=1:frame-threads=1:scenecut=0 ! h265parse ! rtph265pay name=pay0 pt=96 config-interval=1"
    ),
    "mjpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
}
SOURCE = "appsrc name=source is-live=true format=time do-timestamp=true"


class Factory(GstRtspServer.RTSPMediaFactory):
    """Pushes what ``start()`` iterates over into the pipeline at *fps*, one encoder for all who look."""

    def __init__(self, launch, fps, start):
        super().__init__()
        self.interval_ms = round(1000 / fps)
        self.start = start
        self.set_launch(launch)
        self.set_shared(True)

    def do_configure(self, media):
        GstRtspServer.RTSPMediaFactory.do_configure(self, media)
        source = media.get_element().get_child_by_name("source")
        payloads = self.start()

        def push():
            payload, caps = next(payloads)
            if caps:
                source.set_property("caps", Gst.Caps.from_string(caps))
            return source.emit("push-buffer", Gst.Buffer.new_wrapped(payload)) == Gst.FlowReturn.OK

        GLib.timeout_add(self.interval_ms, push)


class Clock:
    """Unix seconds, until it is stopped."""

    stopped_at = None

    @classmethod
    def seconds(cls):
        return time.time() if cls.stopped_at is None else cls.stopped_at

    @classmethod
    def stop(cls, *_):
        cls.stopped_at = time.time()

    @classmethod
    def go_on(cls, *_):
        cls.stopped_at = None


def clock_picture(size):
    """I420 bytes whose 16 columns are the bits of the time in 10 ms units."""
    width, height = map(int, size.split("x"))
    ticks = int(Clock.seconds() * 100) & 0xFFFF
    row = b"".join((b"\xeb" if ticks >> (15 - bit) & 1 else b"\x10") * (width // 16) for bit in range(16))
    return row * height + bytes([128]) * (width * height // 2)


def clock_factory(fps, gop, codec, sizes):
    def pictures():
        for count in itertools.count():
            size = sizes[count // fps % len(sizes)]
            width, height = size.split("x")
            caps = f"video/x-raw,format=I420,width={width},height={height},framerate={fps}/1"
            yield clock_picture(size), caps if count % fps == 0 else ""

    return Factory(f"( {SOURCE} ! {CODECS[codec].format(gop=gop, kbps=400)} )", fps, pictures)


def clip_factory(path):
    access_units, fps = read_clip(path)
    return Factory(
        f"( {SOURCE} caps={ACCESS_UNITS} ! {PAY} )", fps, lambda: ((unit, "") for unit in itertools.cycle(access_units))
    )


def read_clip(path):
    """The clip's H.264 access units (as they are, or encoded here) and its frame rate."""
    stream = GstPbutils.Discoverer.new(10 * Gst.SECOND).discover_uri(Gst.filename_to_uri(path)).get_video_streams()[0]
    is_h264 = stream.get_caps().get_structure(0).get_name() == "video/x-h264"
    decode = "parsebin" if is_h264 else f"decodebin ! videoconvert ! {ENCODE.format(gop=30, kbps=4000)}"
    tail = f"h264parse ! {ACCESS_UNITS} ! appsink name=sink sync=false"
    pipeline = Gst.parse_launch(f"filesrc name=file ! {decode} ! {tail}")
    pipeline.get_by_name("file").set_property("location", path)
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    access_units = []
    while sample := sink.emit("try-pull-sample", 10 * Gst.SECOND):
        buffer = sample.get_buffer()
        access_units.append(buffer.extract_dup(0, buffer.get_size()))
    pipeline.set_state(Gst.State.NULL)
    if not access_units:
        raise SystemExit(f"{path}: GStreamer can't read this clip")
    return access_units, stream.get_framerate_num() / stream.get_framerate_denom()


def guard(server, user, password, tls):
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if password:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.set_default_token(token)
    if tls:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(*tls.split(":")))
    server.set_auth(auth)


def main(port, user, password, tls, *mounts):
    Gst.init(None)
    signal.signal(signal.SIGUSR1, Clock.stop)
    signal.signal(signal.SIGUSR2, Clock.go_on)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    if password or tls:
        guard(server, user, password, tls)
    for index, mount in enumerate(mounts):
        kind, *given = mount.split(":")
        if kind == "clock":
            fps, gop, codec, sizes = [*given, *("", "", "", "")][:4]
            factory = clock_factory(int(fps), int(gop or fps), codec or "h264", (sizes or CLOCK_SIZE).split(","))
        else:
            factory = clip_factory(mount)
        if password or tls:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(f"/{index}", factory)
    if not server.attach(None):
        raise SystemExit(f"port {port} is taken")
    print("READY", flush=True)  # noqa: T201  (the parent waits for it)
    GLib.MainLoop().run()


main(*sys.argv[1:])
