"""A team's own kind of data: strings of beads. A package of its own, which changes nothing in this project."""
