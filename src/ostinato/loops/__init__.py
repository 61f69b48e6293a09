"""The background duties of a server, one a file; `start` begins them together."""
