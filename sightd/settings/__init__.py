"""The settings: frozen models, read from one strict YAML file whose every mistake is named with its line."""

from __future__ import annotations

from .broker_address import split_address
from .cameras import CameraDefaults, CameraSettings, ClassifierSettings
from .http import HttpSettings
from .load import load_settings, parse_settings
from .models import (
    DEFAULT_CONFIG,
    AgreementSettings,
    CalibrationSettings,
    EngineSettings,
    EventSettings,
    OutboxSettings,
    Settings,
    json_schema,
)
from .mqtt import MqttSettings, TlsSettings
from .secrets import read_secret, secret_path
from .starter import assigned, starter

__all__ = [
    "DEFAULT_CONFIG",
    "AgreementSettings",
    "CalibrationSettings",
    "CameraDefaults",
    "CameraSettings",
    "ClassifierSettings",
    "EngineSettings",
    "EventSettings",
    "HttpSettings",
    "MqttSettings",
    "OutboxSettings",
    "Settings",
    "TlsSettings",
    "assigned",
    "json_schema",
    "load_settings",
    "parse_settings",
    "read_secret",
    "secret_path",
    "split_address",
    "starter",
]
