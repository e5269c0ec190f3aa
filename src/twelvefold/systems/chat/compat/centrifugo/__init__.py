"""The Centrifugo client protocol v2 and its server API: a conversation is a channel, its sequence the offset."""
