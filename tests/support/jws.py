"""Signing whatever a test wants to have signed, also what a sound library refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}


def sign(claims: Mapping[str, Any], key: Any, alg: str, headers: Mapping[str, Any]) -> str:
    """A compact JWS over any claims. key: what PyJWT takes for ``alg``; bytes for HS*; unused for ``none``.

    The header is ``alg``, ``typ`` JWT and ``headers``, in which None takes one away.
    """
    header = {"alg": alg, "typ": "JWT", **headers}
    signed = b".".join(_part({k: v for k, v in header.items() if v is not None}, claims))
    return b".".join([signed, _base64(_signature(signed, key, alg))]).decode()


def public_pem(key: RSAPrivateKey) -> bytes:
    """The public half as PEM: what an attacker takes for a shared secret (RS256 told to be HS256)."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _part(*objects: Mapping[str, Any]) -> list[bytes]:
    return [_base64(json.dumps(o, separators=(",", ":")).encode()) for o in objects]


def _signature(signed: bytes, key: Any, alg: str) -> bytes:
    if alg.lower() == "none":
        return b""
    if alg in _HASHES:
        # By hand: PyJWT does not take a public key for a secret.
        secret = key.encode() if isinstance(key, str) else key
        return hmac.new(secret, signed, _HASHES[alg]).digest()
    method = jwt.get_algorithm_by_name(alg)
    return method.sign(signed, method.prepare_key(key))


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
