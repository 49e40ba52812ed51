"""Identities across cameras: who it could be, how likely, what was decided, and all of it kept in a database."""
