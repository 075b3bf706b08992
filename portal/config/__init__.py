"""The project itself: settings, addresses, the ASGI entry point and the checks made at start."""
