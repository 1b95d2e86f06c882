# Generated from pgdual/_async/projection/__init__.py by _generate.py. Do not edit.
"""Events become read models: before the caller goes on (SYNC), or behind it."""
