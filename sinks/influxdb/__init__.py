"""Time series in InfluxDB 2."""
