"""The embedded paper exchange: made-up money, real MCP."""
