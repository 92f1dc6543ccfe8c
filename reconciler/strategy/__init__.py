"""What a strategy author imports."""
