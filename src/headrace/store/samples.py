"""Samples of what pipelines do, and their coarser forms."""

from __future__ import annotations

from headrace.store.base import Part


class Samples(Part):
    """Reading and writing samples of what pipelines do, and their coarser forms."""
