"""A small shop, for Pyramid and for Flask: the same orders, the same tasks, and tests as a user writes them."""
