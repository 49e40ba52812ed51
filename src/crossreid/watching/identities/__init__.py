"""Identities across cameras: candidates, probabilities and decisions, all kept in a database."""
