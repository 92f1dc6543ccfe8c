"""What speaks with an exec-mcp server: connection, mapping, answers, market data. Knows no ledger."""
