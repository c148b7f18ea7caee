"""The process of an endpoint: it parses, validates, batches, predicts, logs, and follows what its record orders."""
