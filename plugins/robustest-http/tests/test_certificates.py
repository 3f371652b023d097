"""A pinned server is the one that gets requests: another one gets none, though an authority vouches for it."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from robustest_http import Delivery, HeaderFromEnv, json_function, json_model, open_inference_model
from robustest_http.certificates import public_key

from robustest import ConfigError, ModelError, TryAgain

X = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
QUICK = Delivery(retries=2, backoff=0.001)


class Site:
    """A server with a certificate, and the digests of it by another reader of certificates."""

    def __init__(self, server: Any, certificate: trustme.LeafCert) -> None:
        self.server = server
        read = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
        self.der = read.public_bytes(Encoding.DER)
        self.spki = read.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.certificate, self.key = (hashlib.sha256(part).hexdigest() for part in (self.der, self.spki))

    def model(self, **options: Any) -> Any:
        return json_model(
            f"{self.server.url}/plain",
            encode=lambda x: {"rows": x.reshape(len(x), -1).tolist()},
            decode=lambda reply: reply["scores"],
            **{"delivery": QUICK, "auth": HeaderFromEnv("ENDPOINT_TOKEN"), **options},
        )


@pytest.fixture
def sites(serve_tls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, Site]]:
    """Two servers of one name, with certificates of one authority, which this process trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("ENDPOINT_TOKEN", "s3cr3t")
    found = []
    with ExitStack() as stack:
        for _ in range(2):
            certificate, context = authority.issue_cert("127.0.0.1"), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            found.append(Site(stack.enter_context(serve_tls(context)), certificate))
        yield found[0], found[1]


def test_the_pinned_server_answers(sites: tuple[Site, Site]) -> None:
    site, other = sites
    capitals = ":".join(site.certificate[place : place + 2] for place in range(0, 64, 2)).upper()
    for pins in ([site.certificate], [site.key], [other.key, site.key], [capitals], None):
        assert site.model(pins=pins)(X).shape == (4, 3)
    assert len(site.server.requests) == 5


def test_another_server_gets_no_request_and_no_secret(sites: tuple[Site, Site]) -> None:
    site, other = sites
    for pins in ([other.certificate], [other.key], ["0" * 64], [hashlib.sha256(b"").hexdigest()]):
        match = (
            f"WrongCertificate: certificate {site.certificate}, public key {site.key}: pins= has neither .try 1 of 3"
        )
        with pytest.raises(ModelError, match=match):
            site.model(pins=pins)(X)
        with pytest.raises(ModelError, match="WrongCertificate"):
            open_inference_model(site.server.url, "m", pins=pins)(X)
        with pytest.raises(ModelError, match="WrongCertificate") as caught:
            json_function(site.server.url, encode=str, decode=str, pins=pins)("a")
        assert not isinstance(caught.value, TryAgain)
    assert site.server.requests == []


def test_a_pin_does_not_replace_the_authority(sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    site, _ = sites
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ModelError, match="CERTIFICATE_VERIFY_FAILED"):
        site.model(pins=[site.certificate])(X)
    assert site.server.requests == []


@pytest.mark.parametrize("place", range(3))
def test_the_public_key_is_found_in_any_certificate(place: int) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.RSA) if place == 1 else trustme.CA()
    pem = (
        authority.cert_pem if place == 2 else authority.issue_cert("a.example", common_name="a" * 60).cert_chain_pems[0]
    )
    read = x509.load_pem_x509_certificate(pem.bytes())
    expected = read.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    der = read.public_bytes(Encoding.DER)
    assert public_key(der) == expected
    for end in range(len(der)):
        assert public_key(der[:end]) == b""


@pytest.mark.parametrize(
    ("pins", "url", "match"),
    [
        (["0" * 63], "https://a.example", "64 hex digits"),
        (["sha256//" + "A" * 44], "https://a.example", "64 hex digits"),
        ([3], "https://a.example", "64 hex digits"),
        ("0" * 64, "https://a.example", "a list of SHA-256"),
        ([], "https://a.example", "a list of SHA-256"),
        (["0" * 64], "http://a.example", "https:// address"),
    ],
)
def test_wrong_pins_are_named(pins: Any, url: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        open_inference_model(url, "m", pins=pins)
