"""The page, its JSON and its metrics: reads, never writes. `routes.create_app` makes it from what others provide."""
