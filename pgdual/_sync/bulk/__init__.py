# Generated from pgdual/_async/bulk/__init__.py by _generate.py. Do not edit.
"""Many rows at once: in, out, one after the other, and in batches that can be interrupted."""
