"""What new settings change in a running service, and what of it has to wait for a restart."""

from __future__ import annotations

import logging
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Tuple

from sightd.errors import ConfigError
from sightd.manifest import Manifest
from sightd.redact import redact
from sightd.settings import Settings

from .messages import ConfigMessage
from .plan import Plan, plan_for

__all__ = ["merged", "outcome", "reread"]

_log = logging.getLogger(__name__)

#: Keys of the settings file that a reload applies; all others are read once.
_RELOADABLE = frozenset(
    {
        "calibration",
        "camera_defaults",
        "cameras",
        "classifiers",
        "events",
        "log_level",
        "max_objects",
        "nms_iou",
        "stats_interval_s",
    }
)


def reread(
    running: Tuple[Settings, Plan], load: Callable[[], Settings], manifests: Mapping[str, Manifest]
) -> Tuple[Settings, Plan, ConfigMessage]:
    """What is to run once the settings were read anew, and what is told about it.

    Never raises: whatever is wrong with them, what runs goes on.

    :param manifests: of the models that run, by their bundle's folder.
    """
    try:
        wanted = load()
        settings = merged(running[0], wanted)
        plan = plan_for(settings, manifests)
        return settings, plan, outcome(running, (wanted, plan))
    except ConfigError as error:
        reason = redact(str(error))
    except Exception as error:  # a mistake of ours in reading them must not end a service that runs well
        _log.exception("the new settings can't be read")
        reason = redact(f"{type(error).__name__}: {error}; please report it")
    _log.error("the new settings are refused, the old ones stay in force:\n%s", reason)
    return (*running, ConfigMessage(at=round(time.time(), 3), result="refused", error=reason))


def merged(running: Settings, wanted: Settings) -> Settings:
    """*wanted* as far as it can be had without a restart: what the service runs with after the reload."""
    kept = {key: getattr(running, key) for key in type(running).model_fields if key not in _RELOADABLE}
    return wanted.model_copy(update=kept)


def outcome(running: Tuple[Settings, Plan], wanted: Tuple[Settings, Plan]) -> ConfigMessage:
    """What is told about the step from the *running* settings to the *wanted* ones."""
    (old_settings, old), (new_settings, new) = running, wanted
    changed = [name for name in new.cameras if name in old.cameras and _of(old, name) != _of(new, name)]
    waiting = list(_different(_fixed(old_settings), _fixed(new_settings)))
    applied = old != new or merged(old_settings, new_settings) != old_settings
    return ConfigMessage(
        at=round(time.time(), 3),
        result="applied" if applied else "unchanged",
        added=[name for name in new.cameras if name not in old.cameras],
        removed=[name for name in old.cameras if name not in new.cameras],
        changed=changed,
        restart_needed=waiting,
    )


def _of(plan: Plan, camera: str) -> Any:
    return plan.cameras[camera], plan.rules.get(camera)


def _fixed(settings: Settings) -> Dict[str, Any]:
    return {key: value for key, value in settings.model_dump().items() if key not in _RELOADABLE}


def _different(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The keys, as `section.key`, whose values differ."""
    for key, before in old.items():
        after = new[key]
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _different(before, after, f"{path}{key}.")
        elif before != after:
            yield f"{path}{key}"
