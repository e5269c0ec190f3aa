"""Chat beside its peers: a C epoll loop as the floor, node ws, Centrifugo, Synapse."""
