"""MLflow: runs, the outbox that keeps what a store lacks, and the store."""
