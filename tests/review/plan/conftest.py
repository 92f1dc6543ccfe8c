"""Fleets as text, before and after a change, and the plan between them. Nothing is loaded, nothing is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.admission import Arrival, admit
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.halt import read_halts
from reconciler.records.record import Row
from reconciler.records.snapshot import Snapshot, SourceFile
from reconciler.review.plan.comparison import Before, Comparison, compare
from reconciler.review.plan.draft import plan_of
from reconciler.review.plan.model import Change, FleetPlan, Point
from reconciler.validation.schema_tree import Schema

SCHEMA: Schema = {
    "type": "object",
    "properties": {
        "levels": {"type": "integer"},
        "pace": {"type": "string", "default": "slow"},
        "note": {},
        "key": {"type": "string", "writeOnly": True},
    },
}
REAL = Accounts(
    {"main": DeclaredAccount("main", "kraken", True), "play": DeclaredAccount("play", "kraken", False)}, any_on=None
)
BASE = "1a2b3c4d" * 5


@dataclass(frozen=True, slots=True)
class World:
    """All that a plan is made from, at one moment. `files` are instance files by id or by path below instances/."""

    files: Mapping[str, str]
    templates: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=lambda: {"grid": "a" * 40})
    schema: Schema = field(default_factory=lambda: SCHEMA)
    accounts: Accounts = REAL
    halts: str = ""
    settings: bytes | None = b""
    committed: bool = True

    def snapshot(self) -> Snapshot:
        return Snapshot(
            instances=tuple(self._file(name, text) for name, text in sorted(self.files.items())),
            templates=tuple(self._file(f"_templates/{name}", text) for name, text in sorted(self.templates.items())),
            strategies=(),
            halt=self._file("_halt", self.halts) if self.halts else None,
            revision="feed" * 10,
            clean=self.committed,
            whole=True,
        )

    def evaluations(self) -> tuple[Evaluation, ...]:
        snapshot = self.snapshot()
        types, cache = tuple(self.code), EvaluationCache()
        return tuple(evaluate_all(snapshot.instances, snapshot.templates, self.facts, self.accounts, types, cache))

    def facts(self, strategy_type: str) -> DefinitionFacts | None:
        digest = self.code.get(strategy_type)
        schema = self.schema if isinstance(self.schema, dict) else {}
        return None if digest is None else DefinitionFacts(strategy_type, "", digest, schema, self.committed)

    def before(self, removed: Mapping[str, Row] | None = None) -> Before:
        evaluations = self.evaluations()
        changes = admit(evaluations, {}, {}, Arrival("", BASE, adopt=True)).changes
        rows = {change.row.id: change.row for change in changes}
        files = {one.claimed_id: one for one in evaluations if one.claimed_id is not None}
        halts, _ = read_halts(self.snapshot().halt, "")
        label = "origin/main (merge base 1a2b3c4d)"
        return Before(label, BASE, {**(removed or {}), **rows}, files, self.accounts, halts, self.settings)

    def _file(self, name: str, text: str) -> SourceFile:
        return SourceFile(f"instances/{name}.yaml", text.encode(), f"blob {hash(text)}", self.committed)


def instance(
    id_: str,
    mode: str = "observe",
    config: str = "levels: 5",
    rest: str = "",
    *,
    account: str = "main",
    market: str = "BTC/USD",
    strategy: str = "grid",
) -> str:
    """An instance file; `config` stands on line 7, `rest` from line 8."""
    return (
        f"id: {id_}\nstrategy_type: {strategy}\naccount: {{account_id: {account}, client_id: desk-a}}\n"
        f"market: {market}\nmode: {mode}\nconfig:\n  {config}\n{rest}\n"
    )


def fleet(*files: str) -> dict[str, str]:
    """Instance files by the id that each of them says."""
    return {text.partition("\n")[0].removeprefix("id: "): text for text in files}


def compared(before: World, now: World, removed: Mapping[str, Row] | None = None) -> Comparison:
    return compare(before.before(removed), now.snapshot(), now.evaluations(), now.accounts)


def planned(before: World, now: World, removed: Mapping[str, Row] | None = None) -> FleetPlan:
    comparison = compared(before, now, removed)

    def schema_of(row: Row) -> Schema:
        facts = now.facts(row.record.strategy_type)
        return True if facts is None else facts.config_schema

    return plan_of(comparison, Point("HEAD", "feed" * 10), now.settings, schema_of)


def only_change(plan: FleetPlan) -> Change:
    (change,) = plan.changes
    return change


QUIET = (instance("idle-1"), instance("idle-2"), instance("idle-3"), instance("idle-4"), instance("idle-5"))
"""So many that one removal is not too many."""
