"""A small product: views that add tasks, and views that are tasks. What they do is written into objects and a file."""
