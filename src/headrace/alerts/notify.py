"""One notice through one channel."""

from __future__ import annotations

import hashlib
import hmac
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, assert_never

import httpx
import orjson

from headrace.alerts.reach import reach
from headrace.errors import HeadraceError, Invalid, Unavailable
from headrace.spec.alerts import ChannelKind

_PATIENCE = 10.0
SIGNATURE = "x-headrace-signature"


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be said. severity: info, warning or critical. facts: JSON, without secrets."""

    subject: str
    text: str
    severity: str = "info"
    facts: dict[str, Any] = field(default_factory=dict)


def send(kind: ChannelKind, config: Mapping[str, Any], secrets: Mapping[str, str], notice: Notice) -> None:
    """Send it and return once the other side has taken it.

    Unavailable ``channel_failed`` saying why not, Denied ``private_address``, Invalid ``bad_url``.
    """
    try:
        match kind:
            case "in_app":
                # The history of alerts is the message.
                return
            case "webhook":
                _post(secrets["url"], _body(notice), secrets.get("signing_key", ""))
            case "slack":
                _post(secrets["url"], orjson.dumps({"text": f"*{notice.subject}*\n{notice.text}"}))
            case "email":
                _mail(config, secrets.get("password", ""), notice)
            case _:
                assert_never(kind)
    except (smtplib.SMTPException, httpx.HTTPError, ssl.SSLError, OSError) as error:
        raise _failed(type(error).__name__) from None
    except httpx.InvalidURL:
        raise Invalid("bad_url", "The channel's URL is none", "Mend the channel.") from None


def _body(notice: Notice) -> bytes:
    return orjson.dumps(
        {
            "subject": notice.subject,
            "text": notice.text,
            "severity": notice.severity,
            "facts": notice.facts,
        }
    )


def _post(url: str, body: bytes, signing_key: str = "") -> None:
    headers = {"content-type": "application/json"}
    if signing_key:
        headers[SIGNATURE] = "sha256=" + hmac.new(signing_key.encode(), body, hashlib.sha256).hexdigest()
    place = reach.place(url)
    # Redirects are not followed: they could lead a notice to a place that nobody has entered.
    with httpx.Client(timeout=_PATIENCE, follow_redirects=False) as client:
        answer = client.post(
            place.url, content=body, headers={**headers, **place.headers}, extensions=place.extensions
        )
    if not answer.is_success:
        raise _failed(f"the other side answered {answer.status_code}")


def _mail(config: Mapping[str, Any], password: str, notice: Notice) -> None:
    message = EmailMessage()
    message["Subject"] = " ".join(notice.subject.split())
    message["From"], message["To"] = config["sender"], ", ".join(config["recipients"])
    message.set_content(notice.text)
    context = ssl.create_default_context()
    implicit = config["tls"] == "implicit"
    kind: Any = smtplib.SMTP_SSL if implicit else smtplib.SMTP
    more = {"context": context} if implicit else {}
    with kind(config["host"], config["port"], timeout=_PATIENCE, **more) as server:
        if config["tls"] == "starttls":
            server.starttls(context=context)
        if config.get("user"):
            server.login(config["user"], password)
        server.send_message(message)


def _failed(why: str) -> HeadraceError:
    return Unavailable(
        "channel_failed",
        f"The notice could not be sent: {why}",
        "Check the channel's address and credentials.",
    )
