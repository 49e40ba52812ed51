"""Exporting a network to a file for another engine; it gets its name only after a comparison with torch on images."""
