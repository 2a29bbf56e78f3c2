"""The programs on the other side: what each one bears, and where its configuration stands."""
