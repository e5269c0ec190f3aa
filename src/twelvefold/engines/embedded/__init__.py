"""PostgreSQL and Valkey from wheels, run as children of this process in one data folder."""

from twelvefold.engines.embedded.data_folder import DataFolder, holder
from twelvefold.engines.embedded.memory import MemoryLimits
from twelvefold.engines.embedded.process import ChildProcess
from twelvefold.engines.embedded.secret_files import Secrets
from twelvefold.engines.embedded.supervisor import ENGINES, EngineUrls, Supervisor

__all__ = [
    "ENGINES",
    "ChildProcess",
    "DataFolder",
    "EngineUrls",
    "MemoryLimits",
    "Secrets",
    "Supervisor",
    "holder",
]
