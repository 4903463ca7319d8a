"""Stands in for the package that sites move from: what of it is in their databases can be made with this."""
