"""Takes passwords out of text before it reaches a log, a topic, a page or an exception."""

from __future__ import annotations

import re

__all__ = ["redact"]

# scheme://user:password@host; the password may hold anything but white space, '@' and '/' included: rather too
# much of a path is hidden than half of a password shown.
_URL_SECRET = re.compile(r"(?P<head>[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*):\S*@")
# ?password=...&, and /user=admin_password=..._channel=1 as some cameras have it.
_QUERY_SECRET = re.compile(r"(?i)(?P<head>[?&/_](?:password|passwd|pwd|token|auth|key|secret)=)[^&\s]+")


def redact(text: str) -> str:
    """*text* with each URL's password and each secret query value replaced by ``***``."""
    text = _URL_SECRET.sub(r"\g<head>:***@", text)
    return _QUERY_SECRET.sub(r"\g<head>***", text)
