"""A network as a file for another engine, checked against torch on images before it is there under its name."""
