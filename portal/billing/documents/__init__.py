"""The bill as people see it: the facts of it, frozen at issue; its words in each language; web page, PDF and paper."""
