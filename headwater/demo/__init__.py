"""The whole system on one machine: broker, portal, street and collectors, and their reconciliation."""
