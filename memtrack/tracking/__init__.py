"""MLflow: runs, the outbox of messages that the store lacks, and the store."""
