"""Customers, meters, agreements and balances from files of other systems, looked at before anything is changed."""
