"""The handbook as a tool."""
