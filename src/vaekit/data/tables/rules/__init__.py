"""Constraints between columns, and what --where asks for."""
