"""Headrace: change data capture that a team can trust."""

__version__ = "0.1.0"
