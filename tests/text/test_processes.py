"""A tokenizer in a process that forks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .vocabularies import SMALL, vocab_file

# The child tokenizes and adds a token, while the thread that was busy with the tokenizer exists in the parent only.
FORK = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore")
from npbert.text.tokenizer import BertTokenizer

tok = BertTokenizer(sys.argv[1])
asked = threading.Thread(target=tok, args=(["hello worlds " * 4000] * 100,), daemon=True,
                         kwargs={"truncation": True, "max_length": 3, "padding": "max_length"})
asked.start()
while asked.is_alive() and not tok._lock.locked():
    pass
time.sleep(0.05)
assert tok._lock.locked(), "the thread is to be busy with the tokenizer when the process forks"
child = os.fork()
if not child:
    signal.alarm(20)  # ends it, should it hang
    ids = tok(["hello", "a b c d"])["input_ids"]
    print(len(ids[0]), len(ids[1]), tok.add_tokens(["new"]), tok("new")["input_ids"][1], flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child hangs"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_tokenizes_while_a_thread_of_its_parent_does(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(vocab_file(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "6", "1", str(len(SMALL))]
