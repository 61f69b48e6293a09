"""The server: owns the store, speaks HTTP, runs the loops. It never imports user code and never unpickles."""
