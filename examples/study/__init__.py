"""From a study to a claim: planned, served, answered, exported, and claimed on; see README.md."""
