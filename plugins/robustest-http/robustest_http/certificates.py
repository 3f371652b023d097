"""Pins: only a server whose certificate, or the public key in it, has one of some digests gets a request."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Sequence

import httpx

from robustest.errors import ConfigError, ModelError, expected

_PIN = re.compile(r"[0-9a-f]{64}")
# Tags of X.690: SEQUENCE, and the [0] of a certificate's version (RFC 5280, section 4.1).
_SEQUENCE, _VERSION = 0x30, 0xA0


class WrongCertificate(ModelError):
    """A server has another certificate than the pinned ones. No request was sent to it."""


def checked_pins(pins: Sequence[str] | None, url: str) -> tuple[str, ...]:
    """Return pins as SHA-256 in lower case hex; raise ConfigError if one is none, or the address has no certificate."""
    if pins is None:
        return ()
    if isinstance(pins, str) or not isinstance(pins, Sequence) or not pins:
        raise ConfigError(expected("pins to be a list of SHA-256 digests, or None", pins))
    found = tuple(pin.replace(":", "").lower() if isinstance(pin, str) else "" for pin in pins)
    if not all(_PIN.fullmatch(pin) for pin in found):
        raise ConfigError(expected("pins to be SHA-256 digests of 64 hex digits", pins))
    if not url.lower().startswith("https://"):
        raise ConfigError("Expected an https:// address with pins=, since others have no certificate.")
    return found


def pinned(pins: tuple[str, ...]) -> ssl.SSLContext:
    """Return the usual settings of TLS, in which a handshake ends with a look at the certificate.

    The pins come beside the check of the certificate's authority and name. It is the handshake that fails, so that
    nothing was sent: neither a request nor a secret.
    """

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            try:
                _check(self.getpeercert(binary_form=True), pins)
            except WrongCertificate:
                self.close()
                raise

    class PinnedObject(ssl.SSLObject):  # in the tunnel of a proxy that speaks TLS itself
        def do_handshake(self) -> None:
            super().do_handshake()
            _check(self.getpeercert(binary_form=True), pins)

    context = httpx.create_ssl_context()
    context.sslsocket_class, context.sslobject_class = PinnedSocket, PinnedObject
    return context


def _check(certificate: bytes | None, pins: tuple[str, ...]) -> None:
    whole, key = (hashlib.sha256(part).hexdigest() for part in (certificate or b"", public_key(certificate or b"")))
    if certificate is None or not {whole, key} & set(pins):
        raise WrongCertificate(f"certificate {whole}, public key {key}: pins= has neither")


def public_key(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate, both in DER; empty if it is no certificate."""
    # Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber, signature, issuer, validity,
    # subject, subjectPublicKeyInfo, ... }, ... }
    try:
        outer, _ = _element(certificate, 0)
        inner, _ = _element(certificate, outer)
        at = inner
        if certificate[at] == _VERSION:
            _, at = _element(certificate, at)
        for _ in range(5):
            _, at = _element(certificate, at)
        _, end = _element(certificate, at)
    except IndexError:
        return b""
    return certificate[at:end] if certificate[at] == _SEQUENCE else b""


def _element(content: bytes, at: int) -> tuple[int, int]:
    """Return the places at which the value of an element of DER begins and ends; raise IndexError beyond the end."""
    length, start = content[at + 1], at + 2
    if length & 0x80:  # the length is in the next bytes
        size = length & 0x7F
        length, start = int.from_bytes(content[start : start + size], "big"), start + size
    if start + length > len(content):
        raise IndexError
    return start, start + length
