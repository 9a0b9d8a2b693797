"""What is kept of trials: the study, its records, and the storages that can hold a study."""
