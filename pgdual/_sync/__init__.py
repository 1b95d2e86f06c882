# Generated from pgdual/_async/__init__.py by _generate.py. Do not edit.
"""The async body: it waits and decides nothing. `pgdual._sync` is generated from it."""
