"""Models for other programs: each format in a file of its own, from the lowered graph to bytes."""
