"""A PostgreSQL client with an async and a blocking face of one shape."""
