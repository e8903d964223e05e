"""Clips on request: a queue of jobs that are made in batches, its HTTP API, web page and client."""
