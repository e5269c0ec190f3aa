"""Numbered SQL of the chat system."""
