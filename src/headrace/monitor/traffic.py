"""What the API of this process was asked, and how long it took: counters for Prometheus and for ourselves."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)


class Traffic:
    """Counts requests. registry: with these counters, for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.began = time.time()
        self._requests = Counter(
            "headrace_api_requests", "Requests by method, route and status", ("method", "route", "status"),
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "headrace_api_request_seconds",
            "Seconds that requests took",
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered. route: its template."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.observe(seconds)

    def by_status(self) -> dict[str, int]:
        """Requests by the class of their status: ``{"2xx": n, ...}``."""
        found: dict[str, int] = {}
        for sample in self._samples(self._requests, "_total"):
            kind = f"{sample.labels['status'][:1]}xx"
            found[kind] = found.get(kind, 0) + int(sample.value)
        return found

    def percentile(self, share: float) -> float | None:
        """The seconds within which that share of all requests was answered (an upper bound); None without any."""
        counts = [(float(s.labels["le"]), s.value) for s in self._samples(self._seconds, "_bucket")]
        total = counts[-1][1] if counts else 0
        if not total:
            return None
        return next(
            (bound for bound, n in counts if n >= share * total and bound != float("inf")), _BUCKETS[-1]
        )

    @staticmethod
    def _samples(metric: Counter | Histogram, ending: str) -> list[Any]:
        return [s for family in metric.collect() for s in family.samples if s.name.endswith(ending)]
