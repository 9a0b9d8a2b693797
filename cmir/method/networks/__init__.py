"""The network, with a replica axis on every weight, and the features that it takes."""
