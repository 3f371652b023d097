"""Many runs of one suite: the entries that a run adds to a history, and the history in a terminal and as a page."""
