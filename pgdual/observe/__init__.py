"""What others watch a program with: probes, Prometheus, OpenTelemetry. Each is imported where it is used."""
