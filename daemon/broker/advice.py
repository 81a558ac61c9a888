"""What a person can do about what a broker says, or does not say: sentences for the log and for `sightd doctor`."""

from __future__ import annotations

from .inflow import MOST, PAUSE_S
from .limits import TOO_LARGE
from .options import BrokerOptions

__all__ = ["deaf", "denied", "ended", "flooded", "refused", "silent", "stuck", "unreachable"]

_ELSEWHERE = "to {reference!r}, which sightd does if it is among mqtt.host and mqtt.fallbacks, or mqtt.redirects is any"
_REDIRECTS = {
    "Use another server": f"it sends us {_ELSEWHERE}",
    "Server moved": f"it sends us for good {_ELSEWHERE}",
}
_REFUSALS = {
    "Bad user name or password": "check the user name and the password",
    "Not authorized": "check the user name, the password, and that the broker's ACL lets this user write to {prefix}/#",
    "Client identifier not valid": "choose another mqtt.client_id",
    "Banned": "somebody has banned us there: have that undone",
    "QoS not supported": "sightd needs a broker that takes QoS 1; going on without a will",
    "Retain not supported": "sightd needs a broker that keeps retained messages; going on without a will",
    **_REDIRECTS,
}
_DENIALS = {
    "Not authorized": "let this user write to {prefix}/# in the broker's ACL",
    "Quota exceeded": "raise what the broker lets this client send",
    TOO_LARGE: "it was not even sent; raise the broker's limit of a packet's size",
}
_ENDINGS = {
    "Session taken over": "another client came with the id {id!r}: give each its own mqtt.client_id",
    "Administrative action": "somebody has thrown us out there",
    "Server shutting down": "it was shut down or restarted",
    "Keep alive timeout": "it heard nothing from us: look for a bad network or an overloaded machine",
    "Not authorized": "check that its ACL lets this user write to {prefix}/#",
    "Quota exceeded": "raise what the broker lets this client send",
    "Message rate too high": "raise what the broker lets this client send",
    "QoS not supported": "sightd needs a broker that takes QoS 1",
    "Retain not supported": "sightd needs a broker that keeps retained messages",
    **_REDIRECTS,
}
_LOOK = "look at the broker's log"
#: Characters that are shown of what a broker may have made as long as it likes.
_SHOWN = 200

#: Parts of OpenSSL's messages. The first that is found counts.
_TLS_FAILURES = (
    (
        ("self-signed certificate", "self signed certificate", "unable to get local issuer", "unable to get issuer"),
        (
            "its certificate is not signed by anybody whom we trust: "
            "mqtt.tls.ca_file must name the certificate of the authority that signed it"
        ),
    ),
    (("certificate has expired",), "its certificate has expired: renew it there, or check this machine's clock"),
    (
        ("certificate is not yet valid",),
        (
            "its certificate is not valid yet, or rather this machine's clock is wrong (without a battery it starts "
            "in the past): set up time synchronisation"
        ),
    ),
    (
        ("Hostname mismatch", "IP address mismatch"),
        (
            "its certificate is not for {host!r}: write as mqtt.host a name that the certificate has, "
            "or have one made with this one as a subjectAltName"
        ),
    ),
    (
        ("CERTIFICATE_REQUIRED", "ALERT_HANDSHAKE_FAILURE"),
        "it wants a client certificate: name one that it trusts in mqtt.tls.cert_file and key_file",
    ),
    (
        ("ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "ALERT_CERTIFICATE", "ALERT_UNSUPPORTED_CERTIFICATE"),
        (
            "it does not accept our client certificate (mqtt.tls.cert_file): is it signed by an authority that the "
            "broker trusts, for client authentication, and not expired?"
        ),
    ),
    (("UNSUPPORTED_PROTOCOL", "ALERT_PROTOCOL_VERSION"), "it has no TLS 1.2: update the broker"),
    (("CERTIFICATE_VERIFY_FAILED",), "its certificate can't be verified: have a better one made"),
    (
        ("WRONG_VERSION_NUMBER", "EOF occurred", "UNEXPECTED_EOF", "reset by peer", "handshake operation timed out"),
        "it does not speak TLS at this port: correct mqtt.port (8883, mostly) or set mqtt.tls.enabled: false",
    ),
)


def unreachable(options: BrokerOptions, error: str) -> str:
    """The connection could not be made, or broke on TLS; *error* is the system's or OpenSSL's message."""
    if options.tls is not None:
        for marks, advice in _TLS_FAILURES:
            if any(mark in error for mark in marks):
                return f"{options}: {advice.format(host=options.host)} ({error})"
    return f"{options} can't be reached ({error}): start it or correct its address"


def silent(options: BrokerOptions) -> str:
    """The connection was made and closed again, or nothing came, before the broker answered to CONNECT."""
    if options.tls is None:
        return f"{options} hung up or gave no answer: is it alive, for MQTT, and without TLS (mqtt.tls.enabled)?"
    wish = (
        "want a client certificate (mqtt.tls.cert_file, key_file)"
        if options.tls.cert_file is None
        else "not accept our client certificate (mqtt.tls.cert_file)"
    )
    return f"{options} hung up or gave no answer after the TLS handshake: is it for MQTT, and does it {wish}?"


def refused(options: BrokerOptions, reason: str, prefix: str, reference: str = "") -> str:
    """The broker's answer to CONNECT was *reason*; *reference* is where it sends us."""
    advice = _REFUSALS.get(reason, _LOOK).format(prefix=prefix, reference=reference[:_SHOWN])
    return f"{options} refuses us ({reason}): {advice}"


def denied(options: BrokerOptions, topic: str, reason: str, prefix: str) -> str:
    """The broker took a message's receipt as the occasion to say that it dropped it for *reason*."""
    advice = _DENIALS.get(reason, _LOOK).format(prefix=prefix)
    return f"{options} does not take what we publish to {topic} ({reason}): {advice}"


def deaf(options: BrokerOptions, topic_filter: str, reason: str) -> str:
    """The broker does not let us subscribe to *topic_filter* for *reason*."""
    return (
        f"{options} does not let us subscribe to {topic_filter} ({reason}): no command arrives; let this user read "
        "that in the broker's ACL, or set mqtt.commands: false"
    )


def flooded(options: BrokerOptions, topic_filter: str) -> str:
    """Somebody publishes so many commands that we do not listen for a while."""
    return (
        f"{options}: more than {MOST} commands a second come on {topic_filter}: none is taken for {PAUSE_S:.0f} s, "
        "again and again; find who publishes them, and who may, in the broker's log and ACL"
    )


def stuck(options: BrokerOptions) -> str:
    """The broker gave signs of life, but no receipts."""
    waited_s = 2 * options.keepalive_s
    return f"{options}: no receipt for {waited_s} s, connecting anew: is the broker, or the network, overloaded?"


def ended(options: BrokerOptions, reason: str, prefix: str, reference: str = "") -> str:
    """An accepted connection ended; *reason* is the broker's, "" when it gave none; likewise."""
    if not reason:
        again = f"if this repeats, look for another client with the id {options.client_id!r}"
        return f"{options}: connection lost, trying again; {again}"
    advice = _ENDINGS.get(reason, _LOOK).format(prefix=prefix, id=options.client_id, reference=reference[:_SHOWN])
    return f"{options} ended the connection ({reason}), trying again: {advice}"
