"""The values of orders: what is asked for, what became of it, what it adds up to. Frozen, exact, pure."""
