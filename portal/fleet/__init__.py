"""Collectors and their keys, meters, enrolment, the portal's own certificate authority, the broker's rules."""
