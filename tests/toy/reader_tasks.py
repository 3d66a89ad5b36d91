"""Tasks for reader processes: what other people's files make of the code that reads them."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from binder import ConfigError, ItemError


def misbehave(what):
    """What the item says: a number is doubled."""
    match what:
        case int():
            return 2 * what
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "all of it":
            os.killpg(os.getpgid(0), signal.SIGKILL)
        case "abort":
            os.abort()
        case "exit":
            sys.exit(4)
        case "hard exit":
            os._exit(7)
        case ("exit with", status):
            os._exit(status)
        case "pid":
            return os.getpid()
        case "info":
            logging.getLogger("binder.somewhere").info("what was assumed")
            logging.getLogger("elsewhere").info("chatter")
            return "said"
        case "sleep":
            time.sleep(60)
        case "spin":
            while True:
                pass
        case "memory":
            return np.ones(3 * 2**30, np.uint8).sum()
        case "bytes":
            return len(bytearray(3 * 2**30))
        case "error":
            raise ValueError("one\ntwo")
        case "item":
            raise ItemError("its own name", "is bad")
        case "config":
            raise ConfigError("a setting is bad")
        case "log":
            logging.getLogger("binder.somewhere").warning("a warning from afar")
            return "logged"
        case "print":
            print("this is no answer")  # noqa: T201
            os.write(1, b"nor is this")
            return "printed"
        case "where":
            return Path.cwd()
    return what


def count(what):
    """A generator of so many numbers, or of one that is followed by trouble."""
    if isinstance(what, int):
        yield from range(what)
    else:
        yield 0
        misbehave(what)


def double(array):
    return array * 2
