"""What residents are told of without asking: leaks, thresholds, silence; each person chooses what and how."""
