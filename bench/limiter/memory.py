"""What ten million limited keys weigh in Valkey."""

import subprocess
from pathlib import Path

from bench.limiter.servers import Head, library, valkey
from bench.load import LoadError
from bench.processes import cores, usage
from bench.table import Bar


def memory(folder: Path, head: Head) -> Bar:
    """Ten million token buckets as a check leaves them; that they are is compared with a real check's key."""
    cpus, load_cpus = cores()
    fill = """
for i = ARGV[1] + 0, ARGV[2] + 0 do
  redis.call('SET', ARGV[3] .. i, struct.pack('>I7', 1790000000000000 + i), 'PXAT', 1990000000000 + i)
end
"""

    def call(port: int, *words: str) -> str:
        done = subprocess.run(
            ["redis-cli", "-p", str(port), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with valkey(folder, cpus=cpus) as (server, port):
        prefix = str(library("one", f"valkey://127.0.0.1:{port}", cpus=load_cpus)["prefix"])
        real = [
            call(port, *words) for words in (("STRLEN", prefix + "1"), ("OBJECT", "ENCODING", prefix + "1"))
        ]
        if real != ["7", "embstr"]:
            raise LoadError(f"a check leaves a state of another form than is filled in here: {real}")
        for start in range(0, 10_000_000, 100_000):
            call(port, "EVAL", fill, "0", str(start), str(start + 99_999), prefix)
        rss = usage([server.pid]).rss_bytes
    return Bar(*head, value=rss / 1e9, details={"bytes_per_key": rss / 1e7, "key": prefix + "<number>"})
