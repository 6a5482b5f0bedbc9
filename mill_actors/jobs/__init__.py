"""What a job is: its structs, its lifecycle, its retry policy, its outcome. Pure: no I/O, no clock."""
