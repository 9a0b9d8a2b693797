"""What a sweep may ask: its file, its search space, and the sampler that draws from it."""
