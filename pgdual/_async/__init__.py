"""The async body: it waits and decides nothing. `pgdual._sync` is generated from it."""
