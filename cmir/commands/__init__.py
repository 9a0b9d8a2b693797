"""The commands: each reads its command line, calls what does the work, and prints what came."""
