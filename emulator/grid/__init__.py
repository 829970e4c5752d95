"""Aggregated areas, governors, ties and the voltage at a point of common coupling. Per unit inside; load positive."""
