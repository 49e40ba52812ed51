"""Identities of an unlabelled gallery: clusters of embeddings, their scores, and duplicates found on the way."""
