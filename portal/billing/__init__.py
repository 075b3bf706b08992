"""From prices and reads to bills: cycles, runs, bills and their lines, adjustments, budgets."""
