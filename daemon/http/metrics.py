"""The stats message as a page for Prometheus: the only file with prometheus_client, loaded where there is a port."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Callable, Iterator, Optional

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from sightd import __version__

from ..messages import StatsMessage
from .exchange import Answer
from .families import FAMILIES, Family, Snapshot

__all__ = ["Metrics"]

#: Prometheus' text format, which everything that scrapes can read.
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Shows what *newest* gives, None before the first stats, beside the usual figures of this process (process_*).

    No lock that a stage takes is held meanwhile: a snapshot is never written to again.
    """

    def __init__(self, newest: Callable[[], Optional[Snapshot]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_StatsCollector(newest))
        ProcessCollector(registry=self._registry)

    def page(self) -> Answer:
        """All of it now."""
        return Answer(HTTPStatus.OK, generate_latest(self._registry), _CONTENT_TYPE)


class _StatsCollector(Collector):
    def __init__(self, newest: Callable[[], Optional[Snapshot]]) -> None:
        self._newest = newest

    def collect(self) -> Iterator[Metric]:
        snapshot = self._newest()
        if snapshot is None:
            return
        stats = snapshot.stats
        yield InfoMetricFamily("sightd", "What runs", {"version": __version__, "boot_id": stats.boot_id})
        age_s = time.monotonic() - snapshot.at
        yield GaugeMetricFamily("sightd_stats_age_seconds", "For so long all below have been as they are", age_s)
        for family in FAMILIES:
            yield _metric(family, stats)


def _metric(family: Family, stats: StatsMessage) -> Metric:
    kind = CounterMetricFamily if family.name.endswith("_total") else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, number in family.samples(stats):
        metric.add_metric(labels, number)
    return metric
