"""Power cuts: crash states built from the recorded system calls of a real run, each opened and checked."""
