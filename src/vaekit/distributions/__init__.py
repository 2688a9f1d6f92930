"""Probability distributions that torch lacks, and how raw network outputs become one."""
