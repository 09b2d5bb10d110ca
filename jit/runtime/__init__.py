"""What compiled graphs run on: machine code, threads, memory, the launch table."""
