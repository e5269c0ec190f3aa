"""Drills of the chat system."""
