"""Production code of both sides under a simulated clock, network, broker, disk and power, driven by one seed."""
