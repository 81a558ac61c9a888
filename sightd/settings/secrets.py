"""Secrets in files of their own: found, refused where everybody may read them, and read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import ConfigError

__all__ = ["read_secret", "secret_path"]

_MAX_BYTES = 4 << 10


def read_secret(path: Path, key: str) -> str:
    """The one line in the file *path* (see :func:`secret_path`), without its line end.

    :param key: the setting that names the file, for messages.
    :raises ConfigError: it can't be read, everybody may read it, or it holds no single line of UTF-8 text.
    """
    found = secret_path(path, key)
    try:
        with found.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(found, key, error) from None  # a decoding error holds the content
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{key}: {found} is larger than {_MAX_BYTES >> 10} KiB; it must hold the secret alone")
    if not text.strip():
        raise ConfigError(f"{key}: {found} is empty; write the secret into it")
    if "\n" in text:
        raise ConfigError(f"{key}: {found} has more than one line; it must hold the secret alone")
    return text


def secret_path(path: Path, key: str) -> Path:
    """Where the secret file *path* really is: systemd's credential of the same file name, else *path* itself.

    LoadCredential= gives a service its own copy of a file that only root may read, in $CREDENTIALS_DIRECTORY.

    :raises ConfigError: there is no such file, or everybody may read or write it.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder, path.name) if folder else path
    found = path
    try:
        found = credential if credential.is_file() else path
        mode = found.stat().st_mode
    except OSError as error:
        raise _unreadable(found, key, error) from None
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{key}: {found} is no file; name the file that holds the secret")
    if mode & stat.S_IRWXO:
        raise ConfigError(f"{key}: everybody on this machine may read {found}; run: chmod o= {found}")
    return found


def _unreadable(path: Path, key: str, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
    return ConfigError(f"{key}: {path} can't be read ({reason}); check path, owner and permissions")
