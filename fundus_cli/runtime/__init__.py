"""How the process uses the machine: device, precision, memory, threads, random numbers."""
