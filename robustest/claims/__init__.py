"""Claims, a room a family: each measurement takes what is claimed and returns a result; nothing is raised over it."""
