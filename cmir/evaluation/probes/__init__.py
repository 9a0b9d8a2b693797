"""What the invariant and the spurious part of a trained model hold (Mai and Han 2026, App. K)."""
