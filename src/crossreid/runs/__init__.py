"""Runs: what a recipe says, trained into a folder, opened, evaluated. Data, methods, training and evaluation meet here."""
