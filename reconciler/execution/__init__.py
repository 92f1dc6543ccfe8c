"""How orders and market data reach exec-mcp servers: the gateway, the connections, the paper exchange."""
