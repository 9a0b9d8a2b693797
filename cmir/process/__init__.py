"""What a command needs of its surroundings: signals, child processes, a cluster."""
