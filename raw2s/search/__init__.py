"""What a sweep searches: the space of its parameters, what each draw makes, and the log."""
