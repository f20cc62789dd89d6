"""How figures are drawn: from matched runs to points, from points to pictures."""
