"""Links over HTTP: the API, the public redirect, its fast lane."""
