"""Identities in an unlabelled gallery: crops are clustered under constraints from films and frames, scored and written."""
