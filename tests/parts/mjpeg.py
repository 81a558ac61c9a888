"""A camera that speaks Motion JPEG over HTTP."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Iterator

import cv2

from tests.parts.clips import numbered_picture

__all__ = ["mjpeg_camera"]


@contextlib.contextmanager
def mjpeg_camera(
    fps: float, *, lengths: bool = True, stray: bytes = b"", stops_after: int = 0, hangs: bool = False
) -> Iterator[str]:
    """The URL of a camera whose pictures are numbered from 0 for every viewer.

    :param lengths: whether it says how long each picture is.
    :param stray: bytes between the pictures that belong to none.
    :param stops_after: so many pictures come; then it closes the connection, or *hangs*: says nothing more.
    """
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with contextlib.suppress(OSError):  # the viewer went away
                for number in itertools.count():
                    if stops_after and number == stops_after:
                        over.wait(30 if hangs else 0)
                        return
                    data = cv2.imencode(".jpg", numbered_picture(number))[1].tobytes()
                    length = f"Content-Length: {len(data)}\r\n" if lengths else ""
                    head = f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n" + stray)
                    time.sleep(1 / fps)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/video.mjpg"
        finally:
            over.set()
            server.shutdown()
            thread.join()
