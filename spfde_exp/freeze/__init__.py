"""Layer freezing (SpFDE section 4.2): plans as data, and the solver that meets a target."""
