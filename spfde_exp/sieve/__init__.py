"""Data sieving (SpFDE section 4.3): forgetting counts and the circular queue."""
