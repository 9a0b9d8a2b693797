"""Registered versions: aliases and their history, the ledger of test-set accesses."""
