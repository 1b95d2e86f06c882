"""The deciding half: no clock, no socket, no event loop."""
