"""What editors know of a fleet: its schemas, generated from the definitions the engine validates by. Pure.

Nothing here is a rule of its own. The instance schema is `records.instance_schema` with a branch for each
strategy type, which holds the strict form of its CONFIG_SCHEMA, the one that validation uses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from reconciler.records import halt as halt_file
from reconciler.records.instance_schema import instance_schema, template_schema
from reconciler.strategy.definition import Definition
from reconciler.strategy.describe import ConfigField, config_field
from reconciler.validation.config_schema import strict
from reconciler.validation.schema_tree import Schema, every, referred
from reconciler.validation.secrets import with_references
from reconciler.validation.validator import DIALECT

_PORTABLE: Final = re.compile(
    r"""(?: [^\\\[\](){}]                                  # a character, an anchor, a quantifier, an alternative
        | \\ (?: [dDwWsSbBnrtfv/^$.*+?()\[\]{}|\\] | x[0-9a-fA-F]{2} | u[0-9a-fA-F]{4} )
        | \( (?: \?: | (?!\?) ) | \)
        | \{ [0-9]+ (?: , [0-9]* )? \}
        | \[ \^? (?: [^\\\[\]] | \\ (?: [dDwWsSnrtfv/^$.*+?()\[\]{}|\\-] | x[0-9a-fA-F]{2} | u[0-9a-fA-F]{4} ) )+ \]
        )*""",
    re.VERBOSE,
)
"""Regular expressions that every engine reads alike: the plain ones."""
_POSSESSIVE: Final = re.compile(r"[*+?}]\+")
_CONDITIONS: Final = ("not", "contains", "minContains", "maxContains", "oneOf", "if", "then", "else")
"""Keywords under which a part that accepts more would make the whole accept less."""
_REPLACED: Final = frozenset({"$schema", "$comment", "$defs", "definitions", "$ref", *_CONDITIONS})
_UNEVALUATED: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_ALL: Final = frozenset({"allOf", "anyOf", "prefixItems"})
_EACH: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_ONE: Final = frozenset({"additionalProperties", "propertyNames", "items", *_UNEVALUATED})
_IN_LISTS: Final = frozenset({"items", "prefixItems"})
_OF_MISSING_KEYS: Final = frozenset({"required", "dependentRequired", "minProperties"})
"""What a map may fail only because keys of it stand elsewhere."""


class Rendition:
    """The definitions that rendering one schema, `root`, calls for. `name` begins the name of each."""

    def __init__(self, root: Schema, name: str = "") -> None:
        self._root = root
        self._name = name
        self._names: dict[tuple[str, bool], str] = {}
        self.definitions: dict[str, Schema] = {}
        """Everything referred to so far, by its name in `$defs`."""

    def root(self) -> Schema:
        """The whole schema itself, for the top of a document."""
        return self._rendered(self._root, in_part=False)

    def reference(self, in_part: bool = False) -> dict[str, str]:
        """A reference to the definition that holds the root."""
        return {"$ref": self._reference("#", in_part)}

    def _reference(self, reference: str, in_part: bool) -> str:
        """Where the definition stands that `reference` of the original is rendered as."""
        key = (reference, in_part)
        if key not in self._names:
            self._names[key] = name = self._free_name(reference, in_part)
            target = referred(reference, self._root)
            assert target is not None, "a schema that was checked refers to nothing that is not there"
            self.definitions[name] = True  # keeps its place while what it refers to itself is rendered
            self.definitions[name] = self._rendered(target, in_part)
        name = self._names[key].replace("~", "~0").replace("/", "~1")
        return f"#/$defs/{quote(name)}"

    def _free_name(self, reference: str, in_part: bool) -> str:
        parts = [self._name, reference.rpartition("/")[2] if "/" in reference else "", "partial" if in_part else ""]
        name = wanted = ".".join(filter(None, parts)) or "root"
        number = 2
        while name in self.definitions:
            name, number = f"{wanted}.{number}", number + 1
        return name

    def _rendered(self, schema: Schema, in_part: bool) -> Schema:
        if isinstance(schema, bool):
            return schema
        left_out = _unsayable(schema) | (_OF_MISSING_KEYS if in_part else frozenset())
        if not _UNEVALUATED.isdisjoint(schema) and (in_part or not self._is_exact(schema)):
            left_out |= _UNEVALUATED  # what counts as evaluated, all that is left out has a say in
        copy: dict[str, Any] = {}
        for keyword, value in schema.items():
            if keyword in _REPLACED or keyword in left_out:
                continue
            partly = in_part and keyword not in _IN_LISTS
            if keyword in _ALL:
                copy[keyword] = [self._rendered(part, partly) for part in value]
            elif keyword in _EACH:
                copy[keyword] = {name: self._rendered(part, partly) for name, part in value.items()}
            elif keyword in _ONE:
                copy[keyword] = self._rendered(value, partly)
            elif not (in_part and keyword in ("enum", "const") and _holds_a_map(value)):
                copy[keyword] = value
        if not set(_CONDITIONS).isdisjoint(schema):
            self._add_conditions(copy, schema, in_part)
        if "$ref" in schema:
            copy["$ref"] = self._reference(schema["$ref"], in_part)
        if "properties" in copy:
            copy["properties"] = dict(self._described(copy["properties"], schema, in_part))
        return copy

    def _add_conditions(self, copy: dict[str, Any], schema: Mapping[str, Any], in_part: bool) -> None:
        """The `_CONDITIONS` of `schema`: as they are where they can be judged, and otherwise weaker or not at all."""
        if "not" in schema and not in_part and self._is_exact(schema["not"]):
            copy["not"] = self._rendered(schema["not"], in_part=False)
        if "contains" in schema and self._is_exact(schema["contains"]):
            copy["contains"] = self._rendered(schema["contains"], in_part=False)
            copy |= {keyword: schema[keyword] for keyword in ("minContains", "maxContains") if keyword in schema}
        if "oneOf" in schema:
            one = [self._rendered(part, in_part) for part in schema["oneOf"]]
            if not in_part and all(map(self._is_exact, schema["oneOf"])):
                copy["oneOf"] = one
            else:
                copy["allOf"] = [*copy.get("allOf", ()), {"anyOf": one}]
        if "if" in schema:
            either = {k: self._rendered(schema[k], in_part) for k in ("then", "else") if k in schema}
            if not in_part and self._is_exact(schema["if"]):
                copy |= {"if": self._rendered(schema["if"], in_part=False), **either}
            elif len(either) == 2:
                copy["allOf"] = [*copy.get("allOf", ()), {"anyOf": list(either.values())}]

    def _is_exact(self, schema: Schema) -> bool:
        """True where rendering the whole of `schema` leaves nothing out."""
        seen: set[str] = set()
        waiting = [schema]
        while waiting:
            for _, part in every(waiting.pop()):
                if isinstance(part, bool):
                    continue
                if _unsayable(part):
                    return False
                if "$ref" in part and part["$ref"] not in seen:
                    seen.add(part["$ref"])
                    target = referred(part["$ref"], self._root)
                    waiting += [] if target is None else [target]
        return True

    def _described(
        self, properties: Mapping[str, Schema], schema: Mapping[str, Any], in_part: bool
    ) -> Iterator[tuple[str, Schema]]:
        """The properties, each with a description that says besides its meaning what may stand there."""
        root = self._root if isinstance(self._root, Mapping) else {}
        required = () if in_part else schema.get("required", ())
        for name, part in properties.items():
            if isinstance(part, bool):
                yield name, part
            else:
                field = config_field(root, schema["properties"][name], name, name in required)
                yield name, {**part, "description": described(field)}


def described(field: ConfigField) -> str:
    """What hovering over a key tells: its meaning without the title, which editors show, and what may stand there."""
    meaning = f"{field.meaning.rstrip('.')}." if field.meaning else ""
    return "\n\n".join(filter(None, (meaning, ", ".join(_facts(field)))))


def _facts(field: ConfigField) -> Iterator[str]:
    yield "a secret: {env: NAME} or {file: PATH}" if field.secret else field.type
    for constraint in field.constraints:
        if not (
            constraint.startswith("one of ")
            or (constraint.startswith("matches ") and (field.examples or field.default))
        ):
            yield constraint  # editors list the options and the examples themselves
    if field.required:
        yield "required"
    if field.default:
        yield f"default {field.default}"


def _unsayable(schema: Mapping[str, Any]) -> frozenset[str]:
    """The keywords of one schema that others would take for something else, or not at all."""
    found = set()
    factor = schema.get("multipleOf")
    if isinstance(factor, float) and not factor.is_integer():
        found.add("multipleOf")  # to binary floats 19.99 is no multiple of 0.01
    if not _is_portable(schema.get("pattern", "")):
        found.add("pattern")
    if not all(map(_is_portable, schema.get("patternProperties", ()))):
        found |= {"patternProperties", "additionalProperties"}
    return frozenset(found)


def _is_portable(pattern: str) -> bool:
    return _PORTABLE.fullmatch(pattern) is not None and _POSSESSIVE.search(pattern) is None


def _holds_a_map(value: Any) -> bool:
    return any(isinstance(one, Mapping) for one in (value if isinstance(value, list) else [value]))


FOLDER: Final = "schemas"
MARK: Final = "Generated by `reconciler schema`, do not edit."
"""The `$comment` by which our own files are known: no other is ever overwritten or removed."""

INSTANCE: Final = f"{FOLDER}/instance.schema.json"
TEMPLATE: Final = f"{FOLDER}/template.schema.json"
HALT: Final = f"{FOLDER}/halt.schema.json"
SETTINGS: Final = f"{FOLDER}/reconciler.schema.json"

EDITOR_SETTINGS: Final[Mapping[str, Any]] = {
    "yaml.schemas": {
        f"./{INSTANCE}": ["/instances/**/*.yaml", "/instances/**/*.yml", "!/instances/**/_*", "!/instances/_*/**"],
        f"./{TEMPLATE}": ["/instances/_templates/*.yaml", "/instances/_templates/*.yml"],
        f"./{HALT}": ["/instances/_halt.yaml", "/instances/_halt.yml"],
        f"./{SETTINGS}": ["/reconciler.yaml"],
    },
    "yaml.yamlVersion": "1.2",
}
"""What `.vscode/settings.json` holds, so that files without a modeline are known, too."""


def strategy_path(strategy_type: str) -> str:
    """Where the schema of one strategy's config lies."""
    return f"{FOLDER}/strategies/{strategy_type}.schema.json"


def exported(definitions: Iterable[Definition], settings: Schema) -> dict[str, str]:
    """Every schema of a fleet: its path from the root, and the text of the file.

    `settings` is the schema of reconciler.yaml, which lies above this folder.
    """
    known = sorted(definitions, key=lambda definition: definition.strategy_type)
    schemas = {
        INSTANCE: _instance(known),
        TEMPLATE: _template(known),
        HALT: _alone(halt_file.SCHEMA),
        SETTINGS: _alone(with_references(settings)),
        **{strategy_path(d.strategy_type): _alone(_config(d)) for d in known},
    }
    return {path: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for path, schema in schemas.items()}


def _alone(schema: Schema) -> dict[str, Any]:
    """A schema as a file of its own."""
    rendition = Rendition(schema)
    return _document(rendition.root(), [rendition])


def _document(schema: Schema, renditions: Iterable[Rendition]) -> dict[str, Any]:
    """A file: the schema, and below it the definitions that it refers to."""
    assert isinstance(schema, dict), "true and false are no files"
    definitions = {name: part for rendition in renditions for name, part in rendition.definitions.items()}
    return {"$schema": DIALECT, "$comment": MARK, **schema, **({"$defs": definitions} if definitions else {})}


def _rendered(schema: Schema) -> dict[str, Any]:
    """The schema of a file of ours, which refers to nothing, to be added to."""
    rendered = Rendition(schema).root()
    assert isinstance(rendered, dict)
    return rendered


def _config(definition: Definition) -> dict[str, Any]:
    """The strict CONFIG_SCHEMA, which says what the strategy does where it says nothing of itself."""
    schema = strict(definition.config_schema)
    assert isinstance(schema, dict)
    return {"title": f"{definition.strategy_type} config", "description": _summary(definition), **schema}


def _summary(definition: Definition) -> str:
    """The first paragraph of its description, in one line."""
    return " ".join(definition.description.partition("\n\n")[0].split())


def _instance(definitions: list[Definition]) -> dict[str, Any]:
    """The instance file with what may stand under `config`, by its strategy type.

    With a template, a key that is not there may be there, so of the config only what is written is judged.
    """
    schema = _rendered(instance_schema())
    properties = schema["properties"]
    types = {d.strategy_type: _summary(d) for d in definitions}
    properties["strategy_type"] |= {"enum": list(types), "enumDescriptions": list(types.values())}
    for part in (properties["strategy_type"], properties["config"]):
        del part["examples"]  # the fleet has better ones
    del properties["config"]["description"]  # so that the strategy's own is shown
    renditions = [Rendition(_config(d), d.strategy_type) for d in definitions]
    schema["allOf"] = [_branch(d.strategy_type, r) for d, r in zip(definitions, renditions, strict=True)]
    return _document(schema, renditions)


def _branch(strategy_type: str, rendition: Rendition) -> dict[str, Any]:
    # For completion a constant is met by its beginning: without the length, `grid` would be offered what is `grid_2`'s.
    this = {"const": strategy_type, "minLength": len(strategy_type)}
    return {
        "if": {"required": ["strategy_type"], "properties": {"strategy_type": this}},
        "then": {
            "if": {"required": ["template"]},
            "then": {"properties": {"config": rendition.reference(in_part=True)}},
            "else": {"properties": {"config": rendition.reference()}},
        },
    }


def _template(definitions: list[Definition]) -> dict[str, Any]:
    """A template, which does not say whose it is: its config must be a part of what some strategy takes."""
    schema = _rendered(template_schema())
    renditions = [Rendition(_config(d), d.strategy_type) for d in definitions]
    if renditions:
        schema["properties"]["config"]["anyOf"] = [rendition.reference(in_part=True) for rendition in renditions]
    return _document(schema, renditions)


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The path of each file that `reconciler schema` would touch, and its state: missing, stale or left over.

    `found` are the files below `schemas/`, whoever wrote them.
    """
    for path, text in wanted.items():
        if path not in found:
            yield path, "missing"
        elif found[path] != text:
            yield path, "stale"
    yield from ((path, "left over") for path, text in found.items() if path not in wanted and is_ours(text))


def is_ours(text: str) -> bool:
    """True for the text of a file that `reconciler schema` wrote."""
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(schema, dict) and schema.get("$comment") == MARK
