"""What is asked: a classifier, a detector, a benchmark's classes alone, a second model, one that adapts."""
