"""Losses: plain functions of tensors that know nothing of batches, networks or recipes."""
