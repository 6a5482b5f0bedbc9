"""`make demo`: 20,000 orders through a Python and a TypeScript script, then a month of customers billed."""
