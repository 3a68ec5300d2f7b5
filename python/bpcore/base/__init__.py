"""What everything stands on: checks, arguments, memory, threads, seeds. It knows no network."""
