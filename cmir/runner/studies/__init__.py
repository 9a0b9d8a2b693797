"""What is kept of trials: the study, its records, and the places where a study can lie."""
