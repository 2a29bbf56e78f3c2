"""The vector index in Weaviate; its client is imported when it is first asked."""
