"""Messages to customers: what is sent, by which channel, and whether it arrived."""
