"""Claims, joins and caches in Redis."""
