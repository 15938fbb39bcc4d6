"""Benchmarks: numbers, not gates. `make bench`, or `make bench QUICK=1` for a short look."""
