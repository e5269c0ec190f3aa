"""Other people's protocols over the links service."""
