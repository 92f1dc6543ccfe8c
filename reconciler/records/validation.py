"""The old door to `reconciler.validation.validator`, kept for scripts of others that came in here."""

from reconciler.validation.validator import check, compile_config_schema, compile_schema, schema_problems

__all__ = ["check", "compile_config_schema", "compile_schema", "schema_problems"]
