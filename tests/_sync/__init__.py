# Generated from tests/_async/__init__.py by _generate.py. Do not edit.
