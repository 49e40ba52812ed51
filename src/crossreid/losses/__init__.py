"""Losses: plain functions of tensors that know nothing of batches or networks, one family a file; some have a name in recipes."""
