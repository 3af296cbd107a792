"""A run on the disk: whose it is, the ledger of what was answered, and its tables, written and read back."""
