"""The truth: SQLAlchemy Core on SQLite, one set of tables and statements."""
