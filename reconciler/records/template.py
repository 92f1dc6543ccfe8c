"""Templates: files whose values instance files build on, and what is wrong with such a file by itself. Pure.

What a strategy thinks of the config in one is found where a record uses it (`evaluator`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from reconciler.documents.document import INHERITED, Document, Merged
from reconciler.errors import Problem
from reconciler.records.instance_schema import instance_schema, template_schema
from reconciler.records.snapshot import TEMPLATES_FOLDER, SourceFile, document_of, engine_fault, leaks, named_id
from reconciler.validation.validator import compile_schema
from reconciler.validation.violation import Violation, bounded, in_order

ANY_NAME: Final = ""
"""The name of what stands for every template: their folder, where it could not be read."""

MAX_PROBLEMS: Final = 100
"""Nothing builds on a template with more faults than that: each record that uses it would find them all again."""


@dataclass(frozen=True, eq=False)
class Template:
    """One template. `document` is None where there is nothing to build on: then `problems` says why."""

    name: str
    file: SourceFile
    document: Document | None
    problems: tuple[Problem, ...]


def templates_by_name(files: Iterable[SourceFile]) -> dict[str, Template]:
    """The templates of a snapshot. Two files of one name are both refused: what it means is for nobody to guess."""
    found: dict[str, Template] = {}
    for file in files:
        template = read_template(file)
        rival = found.get(template.name)
        found[template.name] = template if rival is None else _refused(rival, template)
    return found


def find_template(templates: Mapping[str, Template], name: str) -> Template | None:
    """The template of that name; None where there certainly is none."""
    return templates.get(name) or templates.get(ANY_NAME)


def upon(document: Document, template: Template | None) -> Document | Merged:
    """An instance's document upon its template's, or alone where it has none that can be built on."""
    if template is None or template.document is None:
        return document
    return Merged(document, template.document)


@lru_cache(maxsize=1_024)
def read_template(file: SourceFile) -> Template:
    """Read one file, once. Never raises: what the engine fails on is a problem of this file and of no other."""
    name = ANY_NAME if file.path.endswith(f"/{TEMPLATES_FOLDER}") else named_id(file.path)
    try:
        document = document_of(file)
        if not isinstance(document, Document):
            return Template(name, file, None, in_order(document))
        problems = bounded((*_faults(document), *leaks(file, document)), MAX_PROBLEMS)
        is_usable = isinstance(document.values, dict) and len(problems) <= MAX_PROBLEMS
        return Template(name, file, document if is_usable else None, problems)
    except Exception as error:  # noqa: BLE001 - one file must not stop the others
        return Template(name, file, None, (engine_fault(file.path, error),))


def _faults(document: Document) -> Iterator[Problem]:
    for violation in compile_schema(template_schema()).violations(document.values):
        yield _explained(violation).at(document)


def _explained(violation: Violation) -> Violation:
    """Of a key that an instance file knows, why it is none for a template."""
    key = violation.path[0] if len(violation.path) == 1 else None
    if violation.rule != "schema-unknown-key" or key not in instance_schema()["properties"]:
        return violation
    message = f"expected no {key} in a template"
    hint = "a template builds on no other: write the values out" if key == "template" else _WHAT_IT_HOLDS
    return replace(violation, message=message, hint=hint, rule="template-key")


def _refused(one: Template, other: Template) -> Template:
    problems = (
        Problem(a.file.path, 0, 0, "", f"the template {a.name} is also {b.file.path}", "remove one", "template-name")
        for a, b in ((one, other), (other, one))
    )
    return Template(one.name, one.file, None, in_order((*one.problems, *other.problems, *problems)))


_WHAT_IT_HOLDS: Final = f"a template holds {', '.join(INHERITED)}; the rest is each instance's own"
