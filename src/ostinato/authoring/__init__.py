"""What users write: tasks, flows, and how a file of them is loaded. Knows the `Runtime` Protocol, not the runtime."""
