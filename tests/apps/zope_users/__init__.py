"""A product with views that add a task and change a user in the same transaction, and a plugin that locks users out."""
