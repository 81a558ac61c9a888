"""An MQTT broker for as long as the demo lasts: amqtt inside this process, or mosquitto beside it."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Iterator, Optional

from sightd.errors import SightdError

from .ports import free_port

__all__ = ["BrokerAddress", "demo_broker"]

_START_DEADLINE_S = 10.0
_POLL_S = 0.02


@dataclass(frozen=True)
class BrokerAddress:
    """Where the broker listens, and what it is for people."""

    host: str
    port: int
    name: str


@contextmanager
def demo_broker() -> Iterator[BrokerAddress]:
    """A broker on a free port of the loopback interface; anyone on this machine may connect.

    :raises SightdError: neither amqtt (Python >= 3.10) nor mosquitto is there, or it doesn't come up.
    """
    mosquitto = _mosquitto_path()
    if sys.version_info >= (3, 10) and importlib.util.find_spec("amqtt"):
        address, run = BrokerAddress("127.0.0.1", free_port(), "amqtt in this process"), _amqtt
    elif mosquitto:
        address, run = BrokerAddress("127.0.0.1", free_port(), mosquitto), _mosquitto
    else:
        raise SightdError(
            "no MQTT broker for the demo: install mosquitto (apt-get install mosquitto), "
            "or use Python >= 3.10 and `pip install -r demo/requirements.txt`"
        )
    with run(address):
        yield address


@contextmanager
def _amqtt(address: BrokerAddress) -> Iterator[None]:
    for name in ("amqtt", "transitions"):  # it logs each client that goes as a warning
        logging.getLogger(name).setLevel(logging.CRITICAL)
    started: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(address, started)), name="broker")
    thread.start()
    stop = started.result()
    try:
        yield
    finally:
        stop()
        thread.join()


async def _serve(address: BrokerAddress, started: Future[Callable[[], object]]) -> None:
    """Serve until the function that *started* gets is called; it gets the error if there is one."""
    from amqtt.broker import Broker  # type: ignore[import-untyped]

    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    try:
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"{address.host}:{address.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await broker.start()
    except Exception as error:  # the thread's edge: it is raised in the caller's
        started.set_exception(SightdError(f"amqtt does not start: {error}; install mosquitto instead of it"))
        return
    started.set_result(partial(loop.call_soon_threadsafe, stopping.set))
    await stopping.wait()
    await broker.shutdown()


@contextmanager
def _mosquitto(address: BrokerAddress) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        lines = (
            f"listener {address.port} {address.host}",
            "allow_anonymous true",
            "set_tcp_nodelay true",
            "log_dest none",
        )
        config.write_text("\n".join(lines) + "\n", "utf-8")
        process = subprocess.Popen([address.name, "-c", str(config)], stdin=subprocess.DEVNULL)
        try:
            _wait_for(address)
            yield
        finally:
            process.terminate()
            process.wait()


def _mosquitto_path() -> Optional[str]:
    # Debian puts it in /usr/sbin, which is not on everyone's PATH.
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def _wait_for(address: BrokerAddress) -> None:
    deadline = time.monotonic() + _START_DEADLINE_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection((address.host, address.port), timeout=1).close()
            return
        except OSError:
            time.sleep(_POLL_S)
    raise SightdError(
        f"{address.name} does not accept connections after {_START_DEADLINE_S:.0f} s; is it installed whole?"
    )
