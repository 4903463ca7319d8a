"""The plugin that lies in user folders."""
