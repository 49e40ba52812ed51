"""Runs: train by a recipe into a folder, open it, evaluate it. Data, methods, training and evaluation meet here."""
