"""Looking on: what happens to tasks, made visible. Listens to notices, and nobody knows it."""
