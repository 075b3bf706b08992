"""The JSON API, version 1: enrolment of collectors, and a resident's own usage."""
