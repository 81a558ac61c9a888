"""Takes passwords out of text before it reaches a log, a topic, a page or an exception."""

from __future__ import annotations

import re

__all__ = ["redact"]

# scheme://user:password@host; the password may hold anything but white space (in quotes even that), '@' and '/'
# included: rather too much of a path is hidden than half of a password shown.
_URL_SECRET = re.compile(r"""(?P<head>(")?[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*):(?(2)[^"]*|\S*)@""")
# ?password=...&, and /user=admin_password=..._channel=1 as some cameras have it.
_QUERY_SECRET = re.compile(r"(?i)(?P<head>[?&/_](?:password|passwd|pwd|token|auth|key|secret)=)[^&\s]+")
# user-pw=... in a pipeline of GStreamer's: bare, in quotes, with a type before it.
_PROPERTY_SECRET = re.compile(
    r"(?i)(?P<head>\b(?:[\w-]*-pw|passphrase|password)\s*=\s*)"
    r"""(?:\(\w+\)\s*)?(?:"(?:\\.|[^"\\])*"|'[^']*'|(?:\\.|[^\s"'&\\])+)"""
)


def redact(text: str) -> str:
    """*text* with each URL's password and each secret query value or property replaced by ``***``."""
    text = _URL_SECRET.sub(r"\g<head>:***@", text)
    text = _QUERY_SECRET.sub(r"\g<head>***", text)
    return _PROPERTY_SECRET.sub(r"\g<head>***", text)
