"""The soak ill-treats a laboratory like that of the scenarios."""

from __future__ import annotations

from scenarios.conftest import lab, pair

__all__ = ["lab", "pair"]
