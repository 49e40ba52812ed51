"""Search: from a trained model to a gallery that people query."""
