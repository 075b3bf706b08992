"""The package on top: root command, demo, simulation. The only one that knows both the collector and the portal."""
