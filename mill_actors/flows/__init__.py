"""What a flow is and what comes next. Pure: no I/O, no clock, no randomness of its own."""
