"""Links beside nginx, nginx + Lua + Redis, Kutt and YOURLS."""
