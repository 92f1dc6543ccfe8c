"""The rules that a problem can break, as reports name them: a title, how to mend it, and how urgent it is. Pure.

A rule that is not listed here is still told: its title is its name in words.
"""

from __future__ import annotations

from typing import Final

from reconciler.errors import Problem

OTHER: Final = "other"
"""The name of the rule of a problem that names none."""

_URGENT: Final = (
    ("mode-step", "require-limits"),
    ("identity-changed",),
    ("protected-removal", "mass-removal"),
    ("secret-literal", "schema-secret"),
)
"""What could let something trade that must not, under another name, or vanish, or leak; the gravest first."""

_TITLES: Final = {
    "mode-step": "A mode rises by more than one step",
    "require-limits": "An active record lacks limits that the settings require",
    "identity-changed": "An identity changes, which is immutable",
    "protected-removal": "A protected record is removed",
    "mass-removal": "Too many records are removed at once",
    "secret-literal": "What looks like a key stands in the open",
    "schema-secret": "A secret is written down instead of named",
    "duplicate-id": "Two files claim one id",
    "id-file-name": "The id is not the file's name",
    "unknown-account": "The settings declare no such account",
    "unknown-strategy": "There is no such strategy",
    "unknown-template": "There is no such template",
    "template": "The template cannot be used",
    "template-key": "A template cannot hold this key",
    "template-name": "Two templates have one name",
    "definition-broken": "The strategy has problems of its own",
    "no-record": "What looks like a record is none by its name",
    "code-ends-engine": "Importing the strategy would end the engine",
    "lfs-pointer": "A pointer of git LFS instead of the file",
    "conflict": "A conflict that nobody has merged",
    "file-unreadable": "The file cannot be read",
    "unreadable": "The file cannot be read",
    "more": "More problems than are told",
    "engine-fault": "The engine itself failed on this file",
    "halt-id": "A halt names what does not exist",
    "schema-alternatives": "The value fits none of the alternatives",
    "schema-enum": "The value is none of those allowed",
    "schema-format": "The text is not of its format",
    "schema-key": "A key is not written as keys are here",
    "schema-multiple": "The number is no multiple of its step",
    "schema-pattern": "The text is not written as it must be",
    "schema-range": "The number is out of its range",
    "schema-required": "A key is missing",
    "schema-size": "There is too much or too little of it",
    "schema-type": "The value is of another type",
    "schema-unique": "An item stands twice",
    "schema-unknown-key": "There is no such key",
    "yaml-alias": "An alias instead of a value",
    "yaml-anchor": "An anchor",
    "yaml-control": "A control character",
    "yaml-depth": "Nested too deeply",
    "yaml-directive": "A YAML directive",
    "yaml-documents": "A second document in the file",
    "yaml-duplicate-key": "A key stands twice",
    "yaml-empty": "The file is empty",
    "yaml-key": "A key that is no text",
    "yaml-merge-key": "A merge key",
    "yaml-nodes": "Too many values in one file",
    "yaml-number": "A number that no program reads alike",
    "yaml-otherwise": "What YAML readers do not read alike",
    "yaml-resembling": "A character that only looks like the one meant",
    "yaml-size": "The file is too large",
    "yaml-syntax": "This is not YAML",
    "yaml-tag": "A tag",
    "yaml-utf8": "The file is not UTF-8",
    "code-encoding": "The strategy's text cannot be decoded",
    "code-exception": "The strategy raises when it is imported",
    "code-exit": "The strategy exits when it is imported",
    "code-import": "The strategy imports what is not there",
    "code-import-hangs": "The strategy takes too long to import",
    "code-import-sibling": "The strategy imports another strategy",
    "code-syntax": "The strategy is not Python",
    "code-unreadable": "The strategy cannot be read",
    "definition-class": "The strategy has no class, or more than one",
    "definition-docstring": "The strategy does not say what it does",
    "definition-hook": "A hook cannot be called",
    "definition-missing": "The strategy lacks something",
    "definition-schema": "The strategy's CONFIG_SCHEMA is wrong",
    "definition-tick-minutes": "TICK_MINUTES is wrong",
    "definition-tick-on-load": "TICK_ON_LOAD is wrong",
    "account-money": "The settings do not say whether money is real",
    "account-twice": "Two servers claim one account",
    "dashboard-token": "The page would be open to the network",
    "paper-prices": "There is no such file of prices",
    "secret-unavailable": "A secret cannot be resolved",
    "host-setting": "Only a commit may set this, or only the host",
    "signatures-of-files": "Only commits can be signed",
    "settings-unreadable": "The settings cannot be read",
    "settings-value": "A setting is wrong",
    OTHER: "Something is wrong with the file",
}

_MENDS: Final = {
    "mode": "Modes rise one step at a time, each in a change of its own: off, observe, active. Lowering always works.",
    "identity": "Strategy, account and market of an id never change. Put them back, or give the changed one a new id.",
    "duplicate": "An id belongs to one file and one identity, for ever. Give the new one an id of its own.",
    "protected": "Put the file back, or first take protect out of it, in a change of its own.",
    "mass": "Put the files back, or remove fewer at a time.",
    "template": "A template holds config, limits, labels and open_orders, for the records that name it.",
    "secret": "Revoke the key, then name where the secret is kept: {env: NAME} or {file: PATH}.",
    "yaml": "Files are plain YAML 1.2: maps, lists and scalars, written out.",
    "schema": "The reference of instance files, and `reconciler strategies TYPE`, say what may stand where.",
    "code": "A strategy is one module that imports only installed packages.",
    "definition": "`reconciler strategies TYPE` says whether a definition can be used.",
}
_MEND: Final = "`reconciler validate` says where, and what was expected there."


def name(problem: Problem) -> str:
    return problem.rule or OTHER


def title(rule: str) -> str:
    """A short sentence without its full stop: what is wrong where this rule is broken."""
    return _TITLES.get(rule) or rule.replace("-", " ").capitalize()


def is_titled(rule: str) -> bool:
    return rule in _TITLES


def mend(rule: str) -> str:
    """How such a problem is mended, in general; a problem's own hint knows more."""
    return _MENDS.get("secret" if rule == "schema-secret" else rule.partition("-")[0], _MEND)


def urgency(problem: Problem) -> int:
    """A rank: the lower, the more it matters that somebody sees it."""
    return next((rank for rank, rules in enumerate(_URGENT) if problem.rule in rules), len(_URGENT))


def is_about_safety(problem: Problem) -> bool:
    return urgency(problem) < len(_URGENT)
