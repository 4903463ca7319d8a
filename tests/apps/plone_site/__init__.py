"""A small add-on for Plone: views that add tasks, and views that are tasks."""
