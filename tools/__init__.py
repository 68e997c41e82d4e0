"""Commands for people: cameras, training, benchmarks, the synthetic studio."""
