"""What moves through the system: events, records, failures, and the ports between packages."""
