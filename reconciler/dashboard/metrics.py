"""`/metrics`, for Prometheus: the engine and sums over the fleet. No series per instance, however many there are, but
for the few that use the most of a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from reconciler.clock import Clock
from reconciler.dashboard.attention import Surveyor, heartbeat_age_s
from reconciler.dashboard.query import Query
from reconciler.ports import StatusReader
from reconciler.records.mode import Mode
from reconciler.records.status import Health, Sync

Word = TypeVar("Word", Health, Mode, Sync)

MOST_USERS = 20
"""Of one limit so many instances have a series of their own, however many there are."""
MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Metrics(Collector):
    """Reads the status at each scrape, on whatever thread that is."""

    def __init__(self, status: StatusReader, surveyor: Surveyor, clock: Clock) -> None:
        self._status = status
        self._surveyor = surveyor
        self._clock = clock
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def exposition(self, query: Query) -> bytes:
        """All of it, in the text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """None: names are fixed here, and registering must not read the status."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._engine()
        yield from self._fleet()

    def _engine(self) -> Iterator[Metric]:
        engine = self._status.engine()
        yield _labelled(
            "reconciler_build_info",
            "The running version and source; always 1.",
            ("version", "source"),
            {(engine.version, engine.source): 1},
        )
        age_s = heartbeat_age_s(engine, self._clock.time())
        yield _gauge("reconciler_heartbeat_age_seconds", "Seconds since the last beat fired.", age_s)
        yield _gauge("reconciler_heartbeat_interval_seconds", "Seconds from beat to beat.", engine.heartbeat_s)
        yield _counter("reconciler_beats_lost", "Beats not fired because the process was stopped.", engine.beats_lost)
        yield _gauge("reconciler_clock_behind_seconds", "How far the clock was set back.", engine.clock_behind_s)
        yield _gauge("reconciler_source_up", "1 where the files can be read.", not engine.source_error)
        blocked_s = engine.source_blocked_s
        yield _gauge("reconciler_source_blocked_seconds", "How long nothing but lowering has been applied.", blocked_s)
        yield _gauge("reconciler_source_held", "1 where a commit is held.", engine.is_held)
        away_s = engine.unreachable_s
        yield _gauge("reconciler_source_unreachable_seconds", "How long the remote has not answered.", away_s)
        yield _gauge("reconciler_database_up", "1 where the database can be used.", not engine.database_error)
        yield _gauge("reconciler_source_clean", "1 where what runs is committed.", engine.clean)
        yield _gauge("reconciler_problems", "Problems in files.", len(self._status.problems()))
        yield _gauge("reconciler_prune_held", "Removed instances held until confirmed.", len(engine.prune_held))
        yield _gauge("reconciler_halts", "Halts in force.", len(engine.halts))
        denied, differing = self._status.denials(), self._status.differences()
        yield _gauge("reconciler_orders_denied", "Orders that their exchange took and now denies.", len(denied))
        yield _gauge("reconciler_accounts_differing", "Accounts that do not add up.", len(differing))
        yield from self._limits()
        yield _labelled(
            "reconciler_exec_server_up",
            "1 where the exec-mcp server is connected.",
            ("server",),
            {(str(one.get("name", "")),): int(bool(one.get("connected", True))) for one in engine.exec_servers},
        )

    def _limits(self) -> Iterator[Metric]:
        """By scope; and of each limit by those instances that use the most of it."""
        names = ("scope", "money", "limit")
        found = [((str(one["scope"]), str(one["money"]), str(one["limit"])), one) for one in self._status.limits()]
        yield _labelled(
            "reconciler_limit", "A limit above the instances.", names, {key: float(one["most"]) for key, one in found}
        )
        yield _labelled(
            "reconciler_limit_used",
            "How much of it is used; missing where it cannot be measured.",
            names,
            {key: float(one["used"]) for key, one in found if one["used"] is not None},
        )
        yield _labelled(
            "reconciler_limit_reached",
            "1 where it is reached, or cannot be measured: nothing is opened there.",
            names,
            {key: int(one["reached"]) for key, one in found},
        )
        yield _labelled(
            "reconciler_limit_used_by_instance",
            "What an instance uses of it, of those that use the most.",
            (*names, "instance"),
            {
                (*key, str(user["instance_id"])): float(user["used"])
                for key, one in found
                for user in one["by"][:MOST_USERS]
                if user["used"] is not None
            },
        )

    def _fleet(self) -> Iterator[Metric]:
        survey = self._surveyor.survey()
        fleet = survey.fleet
        yield _by_word("reconciler_instances", "Instances by health.", "health", Health, fleet.by_health)
        yield _by_word("reconciler_instances_by_mode", "Instances by mode in force.", "mode", Mode, fleet.by_mode)
        yield _by_word("reconciler_instances_by_sync", "Instances by sync.", "sync", Sync, fleet.by_sync)
        yield _gauge(
            "reconciler_instances_active_real_money", "Instances active on real money.", fleet.real_money_active
        )
        yield _gauge("reconciler_instances_needing_attention", "Instances of concern.", survey.concern_count)
        ticks = self._status.ticks()
        yield _counter("reconciler_ticks", "Ticks run.", ticks.count)
        yield _counter("reconciler_tick_errors", "Ticks that raised.", ticks.errors)
        yield _counter("reconciler_ticks_missed", "Due ticks skipped: the one before still ran.", ticks.missed)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))


def _labelled(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for words, value in values.items():
        family.add_metric(words, value)
    return family


def _by_word(name: str, text: str, label: str, words: type[Word], counts: Mapping[Word, int]) -> Metric:
    return _labelled(name, text, (label,), {(str(word),): counts.get(word, 0) for word in words})
