"""Events become read models: before the caller goes on (SYNC), or behind it."""
