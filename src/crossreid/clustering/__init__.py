"""Identities in an unlabelled gallery: crops joined into clusters under what films and frames say of them, scored and written."""
