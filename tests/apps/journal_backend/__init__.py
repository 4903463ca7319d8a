"""A backend for one process: tasks in a file to which every change is appended."""
