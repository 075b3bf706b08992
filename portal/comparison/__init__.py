"""How a home compares with similar ones: sums of groups that identify nobody."""
