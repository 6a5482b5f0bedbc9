"""Benches: programs that measure the engine as it is installed, and fail where they measured nothing."""
