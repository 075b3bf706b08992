"""Meter drivers: a wire protocol is code, a meter model is data."""
