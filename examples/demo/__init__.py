"""`make demo`: 20,000 orders through a Python and a TypeScript script, and what became of them."""
