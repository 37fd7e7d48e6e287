"""HEAD, answered as GET is, without what GET would send."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Answers that do not end.
STREAMS = frozenset({"/api/v1/live/events"})


class Heads:
    """Turns HEAD into GET and keeps the body back; of ``STREAMS`` it is refused."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"] in STREAMS:
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, sending)
        finally:
            # Whoever writes the request down wants to know which route it took.
            scope.update({key: value for key, value in asked.items() if key not in scope})
