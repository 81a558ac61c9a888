"""What a power cut is made of."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.chaos.cut_disk import stand_still

_BUSY = """
import threading
def work():
    while True:
        open("/dev/null").close()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
print(flush=True)
"""


def test_who_stands_still_does_so_with_all_threads_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(100):
                stand_still(process)
                stats = [(task / "stat").read_text() for task in Path(f"/proc/{process.pid}/task").iterdir()]
                assert [stat.rpartition(")")[2].split()[0] for stat in stats] == 5 * ["T"]
                process.send_signal(signal.SIGCONT)
        finally:
            process.kill()
