"""The HTTP face: REST under ``/api/v1`` (``/api`` answers the same) and a live status page at ``/``.

What enters: JSON and a bearer token. What leaves: JSON, and RFC 9457 problem documents for every error. Thin:
each endpoint calls one use case of ``control``; nothing here decides, and no secret leaves in clear.
"""
