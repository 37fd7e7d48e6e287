"""Every type, NULL and extreme values included, comes out the same through load and through stream."""

from __future__ import annotations

