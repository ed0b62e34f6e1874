"""Integrals along straight paths: fixed rules, and refinement to a requested error."""
