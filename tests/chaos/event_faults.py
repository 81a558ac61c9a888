"""A hundred events a second while broker and daemon are killed: each that was stored arrives, in its camera's order."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path
from typing import List

from tests.chaos.event_account import PATIENCE_S, EventAccount
from tests.chaos.event_maker import PREFIX, Maker
from tests.chaos.outcome import Outcome
from tests.chaos.subscriber import Subscriber
from tests.parts.broker import running_broker

__all__ = ["PERSISTENCE", "event_faults"]

_RATE = 100
#: How mosquitto is told to keep what it took: at once, or (by default) only when it stops or half an hour has passed.
PERSISTENCE = {"autosave_on_changes": "autosave_interval 1\nautosave_on_changes true", "default persistence": ""}


def event_faults(folder: Path, seed: int, broker_kills: int, daemon_kills: int, persistence: str) -> List[Outcome]:
    """Kill -9 the broker and who makes events so often, in the order of the *seed*.

    *persistence* is a key of :data:`PERSISTENCE`.
    """
    rng = random.Random(seed)
    order = ["broker"] * broker_kills + ["daemon"] * daemon_kills
    rng.shuffle(order)
    with ExitStack() as stack:
        (folder / "broker").mkdir()
        lines = f"persistence true\npersistence_location {folder / 'broker'}/\n{PERSISTENCE[persistence]}"
        broker = stack.enter_context(running_broker(folder / "broker", lines=lines))
        subscriber = stack.enter_context(Subscriber(broker.port, folder, f"{PREFIX}/+/events"))
        maker = stack.enter_context(Maker(broker.port, folder, _RATE))
        subscriber.wait_until(lambda seen: len(seen.messages) > _RATE, PATIENCE_S)
        # It saves the sessions when it is stopped: from here on a killed one comes back with those of now.
        broker.stop()
        broker.start()
        for name in order:
            time.sleep(rng.uniform(0.5, 3))
            if name == "broker":
                broker.kill()
                time.sleep(rng.uniform(0, 1))
                broker.start()
            else:
                maker.kill()
                maker.start()
        account, mended = EventAccount(subscriber), time.time()
        resumed_s, recovered_s = account.anything_after(mended), account.fresh_after(mended)
        time.sleep(1)
        return [account.outcome(f"events, {persistence}", len(order), maker.stored(), recovered_s, resumed_s=resumed_s)]
