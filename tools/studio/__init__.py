"""Renders synthetic people with exact labels."""
