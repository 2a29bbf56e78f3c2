"""Redis and Valkey: what is shared fast between replicas, and may be lost."""
