"""The collector's main program."""
