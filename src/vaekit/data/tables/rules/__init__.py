"""Constraints between columns, and the conditions of --where."""
