"""The routes of the public API, one noun a file."""
