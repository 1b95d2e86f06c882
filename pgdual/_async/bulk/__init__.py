"""Many rows at once: in, out, one after the other, and in batches that can be interrupted."""
