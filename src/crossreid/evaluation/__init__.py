"""Evaluation: embeddings or distances in, scores by a published protocol out; nothing here trains or draws images."""
