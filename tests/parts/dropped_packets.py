"""Drops a broker's packets under a publisher; to be run in a network namespace of its own, as root.

Prints the seconds until that is noticed, and from its end until the publisher is back.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.parts.broker import running_broker
from tests.parts.publishing import publishing


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder)) as broker, publishing(
        broker.port
    ) as running:
        running.wait_until(lambda publisher: publisher.connected)
        _nft("add table inet hole")
        _nft("add chain inet hole packets { type filter hook input priority 0 ; }")
        began = time.monotonic()
        _nft(f"add rule inet hole packets tcp sport {broker.port} drop")
        _nft(f"add rule inet hole packets tcp dport {broker.port} drop")
        running.wait_until(lambda publisher: not publisher.connected, deadline_s=60)
        noticed_s = time.monotonic() - began
        time.sleep(10)
        _nft("delete table inet hole")
        began = time.monotonic()
        running.wait_until(lambda publisher: publisher.connected, deadline_s=30)
        sys.stdout.write(f"{noticed_s:.2f} {time.monotonic() - began:.2f}\n")


def _nft(command: str) -> None:
    subprocess.run(["nft", command], check=True)


main()
