"""The actors of a node and the tree they stand in: `node.py` shows all of it."""
