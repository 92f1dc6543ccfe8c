"""The cross-check: all files of a snapshot, judged each on its own and then against each other. Pure.

A file is judged again only where something its judgement rests on is another object than last time, so
a pass over unchanged files costs next to nothing. What an engine before this one judged is taken as it was where
all of that is certain to be the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from unicodedata import normalize

from reconciler.documents.document import Mark
from reconciler.documents.wording import some
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.evaluator import FindFacts, evaluate, recalled
from reconciler.records.record import Row
from reconciler.records.snapshot import SourceFile, named_id
from reconciler.records.template import Template, find_template, templates_by_name
from reconciler.validation.violation import in_order


class Basis:
    """What records are judged by beside the files, as words that are others where any of it is another: the engine's
    rules and the settings, then the CONFIG_SCHEMA of the code. Not thread-safe.

    `rules` stands for all that this engine judges by; where it is empty nothing is told, and nothing recalled.
    """

    def __init__(self, rules: str) -> None:
        self._rules = rules
        self._settings: tuple[Accounts | None, str] = (None, "")
        self._schemas: dict[str, tuple[DefinitionFacts, str]] = {}

    def of_settings(self, accounts: Accounts) -> str:
        """Empty where nothing is told."""
        if self._settings[0] is not accounts:
            said = f"{self._rules}\n{accounts!r}"
            self._settings = (accounts, hashlib.sha256(said.encode()).hexdigest()[:32] if self._rules else "")
        return self._settings[1]

    def told(self, facts: DefinitionFacts, accounts: Accounts) -> str:
        """The settings' word and that of the code's schema, with a colon between. Empty where nothing is told."""
        settings = self.of_settings(accounts)
        if not settings:
            return ""
        known = self._schemas.get(facts.strategy_type)
        if known is None or known[0] is not facts:
            schema = json.dumps(facts.config_schema, sort_keys=True, default=repr)
            known = (facts, hashlib.sha256(schema.encode()).hexdigest()[:32])
            self._schemas[facts.strategy_type] = known
        return f"{settings}:{known[1]}"


class Applied(NamedTuple):
    """A row, and what it was judged by when it was applied."""

    row: Row
    judged_by: str


@dataclass(frozen=True, slots=True)
class _Circumstances:
    """What the files of one pass are judged by."""

    facts: FindFacts
    accounts: Accounts
    known_types: tuple[str, ...]
    templates: Mapping[str, Template]
    known_templates: tuple[str, ...]
    basis: Basis

    def judged_by(self, facts: DefinitionFacts) -> str:
        return self.basis.told(facts, self.accounts)


@dataclass(frozen=True, slots=True)
class _Judged:
    """An evaluation and what it rests on; `strategy_type` is None where the file names none."""

    evaluation: Evaluation
    file: SourceFile
    accounts: Accounts
    strategy_type: str | None
    facts: DefinitionFacts | None
    known_types: tuple[str, ...]
    known_templates: tuple[str, ...]


@dataclass(slots=True)
class EvaluationCache:
    """What was judged last time, by path, and the result in which nothing has changed since. Not thread-safe.

    `applied` is what an engine before this one judged and applied, by path, until all of it was looked at.
    """

    judged: dict[str, _Judged] = field(default_factory=dict)
    result: tuple[Evaluation, ...] = ()
    basis: Basis = field(default_factory=lambda: Basis(""))
    applied: Mapping[str, Applied] = field(default_factory=dict)

    def recall(self, rows: Iterable[Row], judged_by: Mapping[str, str]) -> None:
        """Take as judged what is applied. `judged_by` knows by id what rows were judged by, those that are to the
        letter as they were when their files had said just that."""
        self.applied = {row.path: Applied(row, judged_by[row.id]) for row in rows if row.id in judged_by}


def evaluate_all(
    files: Sequence[SourceFile],
    templates: Sequence[SourceFile],
    facts: FindFacts,
    accounts: Accounts,
    known_types: Sequence[str],
    cache: EvaluationCache,
) -> tuple[Evaluation, ...]:
    """Judge every file of a snapshot, in its order; the same tuple as last time where nothing changed.

    Files that claim one id are all refused, each naming the others. A file that cannot be read is taken to
    claim the id it is named after: nobody knows that it does not. What is wrong with a template is one and
    the same problem of all the records that it breaks, and its hint names them.
    """
    told: dict[str, DefinitionFacts | None] = {}

    def ask(strategy_type: str) -> DefinitionFacts | None:
        if strategy_type not in told:
            told[strategy_type] = facts(strategy_type)
        return told[strategy_type]

    named = templates_by_name(templates)
    now = _Circumstances(ask, accounts, tuple(known_types), named, tuple(named), cache.basis)
    before = cache.judged
    judged: dict[str, _Judged] = {}
    changed = len(files) != len(before)
    for file in files:
        known = before.get(file.path)
        if known is None or not _still_holds(known, file, now):
            known = _recalled(file, cache.applied, now) or _judge(file, now)
            changed = True
        judged[file.path] = known
    if changed:
        if not any(one.evaluation.waiting for one in judged.values()):
            cache.applied = {}
        cache.judged = judged
        cache.result = _naming_the_broken(_against_each_other([one.evaluation for one in judged.values()]))
    return cache.result


def template_problems(templates: Sequence[SourceFile], evaluations: Iterable[Evaluation]) -> tuple[Problem, ...]:
    """Every problem that stands in a template: those that break records, as they tell them, and all others."""
    told = {problem for one in evaluations for problem in one.problems if problem.path != one.path}
    known = {replace(problem, hint="") for problem in told}
    own = (problem for template in templates_by_name(templates).values() for problem in template.problems)
    return in_order((*told, *(problem for problem in own if replace(problem, hint="") not in known)))


def contested_id(file: Evaluation) -> str | None:
    """The id that no other file may claim: of a file that cannot be read, the one it is named after."""
    return named_id(file.path) if file.source is None else file.claimed_id


def _still_holds(known: _Judged, file: SourceFile, now: _Circumstances) -> bool:
    if known.file is not file or known.accounts is not now.accounts:
        return False
    return _strategy_still_holds(known, now) and _template_still_holds(known, now)


def _strategy_still_holds(known: _Judged, now: _Circumstances) -> bool:
    if known.strategy_type is None:
        return True
    is_same = now.facts(known.strategy_type) is known.facts
    return is_same and (known.facts is not None or known.known_types == now.known_types)


def _template_still_holds(known: _Judged, now: _Circumstances) -> bool:
    name, template = known.evaluation.claimed_template, known.evaluation.template
    if name is None:
        return True
    is_same = find_template(now.templates, name) is template
    return is_same and (template is not None or known.known_templates == now.known_templates)


def _recalled(file: SourceFile, applied: Mapping[str, Applied], now: _Circumstances) -> _Judged | None:
    """A file as an engine before this one judged it; None where anything that has a say is not certain to be the same:
    file, template and code by the digest of what was read just now, everything else by its word.
    """
    known = applied.get(file.path)
    if known is None:
        return None
    row = known.row
    # Bytes of which git keeps others, whose ends of line it made its own, are not those of the digest.
    if file.data is None or file.error or file.is_unfinished or file.digest != row.file_digest or b"\r" in file.data:
        return None
    facts = now.facts(row.record.strategy_type)
    if facts is None or facts.problems or facts.code_digest != row.code_digest:
        return None
    template = None if row.record.template is None else find_template(now.templates, row.record.template)
    if row.record.template is not None and (template is None or template.problems or template.file.is_unfinished):
        return None
    if (row.template_path, row.template_digest) != _origin(template):
        return None
    if facts.waiting:  # its schema is not known yet: then it is asked anew
        if known.judged_by.partition(":")[0] != now.basis.of_settings(now.accounts):
            return None
    elif known.judged_by != now.judged_by(facts):
        return None
    evaluation = recalled(file, row, facts, template, now.accounts, "" if facts.waiting else known.judged_by)
    return _Judged(evaluation, file, now.accounts, facts.strategy_type, facts, now.known_types, now.known_templates)


def _origin(template: Template | None) -> tuple[str, str]:
    return ("", "") if template is None else (template.file.path, template.file.digest)


def _judge(file: SourceFile, now: _Circumstances) -> _Judged:
    asked: list[tuple[str, DefinitionFacts | None]] = []

    def note(strategy_type: str) -> DefinitionFacts | None:
        asked.append((strategy_type, now.facts(strategy_type)))
        return asked[-1][1]

    evaluation = evaluate(file, note, now.accounts, now.known_types, now.templates, now.judged_by)
    strategy_type, found = asked[0] if asked else (None, None)
    return _Judged(evaluation, file, now.accounts, strategy_type, found, now.known_types, now.known_templates)


def _against_each_other(evaluations: Iterable[Evaluation]) -> tuple[Evaluation, ...]:
    files = tuple(evaluations)
    claims: dict[str, list[Evaluation]] = defaultdict(list)
    for file in files:
        claimed = contested_id(file)
        if claimed is not None:
            claims[claimed].append(file)
    rivals = {file.path: claimants for claimants in claims.values() if len(claimants) > 1 for file in claimants}
    return tuple(_refused(file, rivals[file.path]) if file.path in rivals else file for file in files)


def _refused(file: Evaluation, claimants: Sequence[Evaluation]) -> Evaluation:
    problems = in_order((*file.problems, _rivalry(file, claimants)))
    return replace(file, record=None, values_digest="", config_digest="", problems=problems)


def _rivalry(file: Evaluation, claimants: Sequence[Evaluation]) -> Problem:
    """One problem, however many claim the id: naming all of them in each would weigh as much as their square."""
    first = [rival for rival in claimants[: _MOST_NAMED + 1] if rival.path != file.path][:_MOST_NAMED]
    more = len(claimants) - 1 - len(first)
    readable = [rival.path for rival in first if rival.source is not None]
    unreadable = [rival.path for rival in first if rival.source is None]
    whose = [f"by {', '.join(readable)}"] if readable else []
    whose += [f"as far as its name tells, by the unreadable {', '.join(unreadable)}"] if unreadable else []
    how = f"also claimed{'' if readable else ','} {' and, '.join(whose)}{f' and {more:,} more' if more else ''}"
    place = Mark(file.path, 0, 0) if file.source is None else file.place("id")
    hint = "an id belongs to one file: give one of the two another, or remove it"
    if any(normalize("NFC", path) == normalize("NFC", file.path) for path in (*readable, *unreadable)):
        hint = f"two names that look the same, accents combined in one of them; {hint}"
    return Problem(*place, "id", how, hint, "duplicate-id")


def _naming_the_broken(files: tuple[Evaluation, ...]) -> tuple[Evaluation, ...]:
    """Problems in another file than the record's own are its template's: told once, with the records it breaks."""
    broken: dict[Problem, list[str]] = defaultdict(list)
    for file in files:
        for problem in file.problems:
            if problem.path != file.path:
                broken[problem].append(named_id(file.path))
    if not broken:
        return files
    named = {problem: replace(problem, hint=_hint(problem, sorted(ids))) for problem, ids in broken.items()}
    return tuple(
        replace(file, problems=tuple(named.get(problem, problem) for problem in file.problems))
        if any(problem in named for problem in file.problems)
        else file
        for file in files
    )


def _hint(problem: Problem, ids: Sequence[str]) -> str:
    breaks = f"breaks {some(ids, _MOST_NAMED)}"
    return f"{problem.hint}; {breaks}" if problem.hint else breaks


_MOST_NAMED = 3
