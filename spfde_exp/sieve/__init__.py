"""Data sieving: forgetting counts, the circular queue of SpFDE section 4.3, the two phases of MEST section 4.3."""
