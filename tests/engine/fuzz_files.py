"""Reads damaged and hostile files: ``python fuzz_files.py FIRST LAST`` tries a range of seeds.

Each seed makes one file. What reading it came to is counted; anything but weights, values or a
UserError of one sentence is printed with its seed, as JSON, and so is what it tried to run.
"""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import pickletools
import random
import resource
import signal
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from centernet2.engine import Checkpointer, build_cfg
from centernet2.engine.config_files import merge_file
from centernet2.engine.proposal_files import add_proposals
from centernet2.errors import UserError

REPO = Path(__file__).resolve().parents[2]
CANARY = "pwned"
SECONDS = 30  # of computing, for one file
MEMORY = 12 << 30  # address space; PyTorch's libraries alone take several GiB of it
CONFIGS = sorted((REPO / "configs").glob("*.yaml"))


class TooLong(BaseException):
    """A file took more than SECONDS."""


def content() -> dict[str, Any]:
    """A checkpoint in training."""
    return {
        "model": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)},
        "optimizer": {"state": {0: {"step": np.int64(3)}}, "param_groups": [{"lr": 0.1}]},
        "scheduler": {"lrs": np.array([0.1, 0.2]), "last": np.float64(0.5)},
        "iteration": 9,
        "__author__": "somebody",
    }


def arrays() -> dict[str, Any]:
    model = {name: value.numpy() for name, value in content()["model"].items()}
    return {**content(), "model": model}


def proposals() -> dict[str, Any]:
    boxes = [np.arange(8.0).reshape(2, 4)] * 3
    return {"ids": [1, 2, 3], "boxes": boxes, "objectness_logits": [np.arange(2.0)] * 3}


# ------------------------------------------------------------------------------------ mutations


def call(module: str, name: str, argument: bytes) -> bytes:
    """Instructions that call a function with a text and leave the result on the stack."""
    return b"c%s\n%s\n(X%s%stR" % (
        module.encode(),
        name.encode(),
        len(argument).to_bytes(4, "little"),
        argument,
    )


_MAKE = f"open({CANARY!r}, 'w').close()".encode()
CALLS = [
    call("os", "system", f"touch {CANARY}".encode()),
    call("posix", "system", f"touch {CANARY}".encode()),
    call("nt", "system", f"touch {CANARY}".encode()),
    call("subprocess", "getoutput", f"touch {CANARY}".encode()),
    call("builtins", "eval", _MAKE),
    call("builtins", "exec", _MAKE),
    call("__builtin__", "eval", _MAKE),
    call("builtins", "open", CANARY.encode()),
    call("os", "mkdir", CANARY.encode()),
    call("pickle", "loads", b"x"),
    call("runpy", "run_path", CANARY.encode()),
    call("importlib", "import_module", b"antigravity"),
    call("torch", "load", CANARY.encode()),
    call("torch.jit", "load", CANARY.encode()),
    call("torch.hub", "load", CANARY.encode()),
    call("torch._C", "import_ir_module", CANARY.encode()),
    call("torch._C", "_jit_set_profiling_mode", b"x"),
    call("torch.serialization", "load", CANARY.encode()),
    call("torch.utils.collect_env", "run", f"touch {CANARY}".encode()),
    call("torch.distributed.rpc.internal", "_run_function", b"x"),
    call("numpy", "load", CANARY.encode()),
    call("numpy", "fromfile", b"/dev/zero"),
    call("numpy.testing._private.utils", "runstring", _MAKE),
    call("numpy.f2py.crackfortran", "myeval", _MAKE),
    call("operator", "attrgetter", b"system"),
    call("functools", "partial", b"x"),
    b"\x8c\x02os\x8c\x06system\x93(X\x0b\x00\x00\x00touch pwnedtR",
    b"(S'touch pwned'\nios\nsystem\n",
    b"(cos\nsystem\nS'touch pwned'\no",
    b"cos\nsystem\n(S'touch pwned'\nt\x81",
    b"cbuiltins\ngetattr\n(cos\n__dict__\nS'get'\ntR",
    b"\x82\x01",
    b"Ptouch pwned\n",
]


def flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def leave_out(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data))
    return data[:start] + data[start + draw.randint(1, 40) :]


def repeat(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data))
    return data[:start] + data[start : start + 60] * draw.randint(2, 50) + data[start:]


def insert(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data))
    return data[:start] + draw.randbytes(draw.randint(1, 20)) + data[start:]


def boundaries(data: bytes) -> list[int]:
    """Places between two instructions of a pickle."""
    try:
        return [place for _, _, place in pickletools.genops(data) if place]
    except Exception:
        return [0]


def call_something(data: bytes, draw: random.Random) -> bytes:
    place = draw.choice(boundaries(data))
    result = draw.choice([b"", b"0", b"a", b"s"])
    return data[:place] + draw.choice(CALLS) + result + data[place:]


def other_instructions(data: bytes, draw: random.Random) -> bytes:
    place = draw.choice(boundaries(data))
    codes = [op.code.encode("latin1") for op in pickletools.opcodes]
    added = b"".join(
        draw.choice(codes) + draw.randbytes(draw.choice([0, 0, 1, 4])) for _ in range(3)
    )
    return data[:place] + added + data[place:]


Mutation = Callable[[bytes, random.Random], bytes]
BYTES: list[Mutation] = [flip, cut, leave_out, repeat, insert]
PICKLE: list[Mutation] = [*BYTES, call_something, call_something, other_instructions]


# ---------------------------------------------------------------------------------------- files


def pth(draw: random.Random) -> bytes:
    """PyTorch's zip file, damaged as a whole or in its pickle."""
    file = io.BytesIO()
    torch.save(content(), file)
    if draw.random() < 0.3:
        return draw.choice(BYTES)(file.getvalue(), draw)
    packing = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    changed = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(changed, "w", packing) as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                data = draw.choice(PICKLE)(data, draw)
            elif draw.random() < 0.1:
                data = draw.choice([b"", data + bytes(draw.randrange(100)), bytes(2_000_000)])
            new.writestr(name, data)
    return changed.getvalue()


def old_pth(draw: random.Random) -> bytes:
    file = io.BytesIO()
    torch.save(content(), file, _use_new_zipfile_serialization=False)
    return draw.choice(PICKLE)(file.getvalue(), draw)


def pkl(draw: random.Random) -> bytes:
    return draw.choice(PICKLE)(pickle.dumps(arrays(), protocol=draw.randint(0, 5)), draw)


def proposal_pkl(draw: random.Random) -> bytes:
    return draw.choice(PICKLE)(pickle.dumps(proposals(), protocol=draw.randint(0, 5)), draw)


def safetensors(draw: random.Random) -> bytes:
    data = save(content()["model"])
    if draw.random() < 0.5:
        return draw.choice(BYTES)(data, draw)
    length = int.from_bytes(data[:8], "little")
    header = draw.choice(BYTES)(data[8 : 8 + length], draw)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


TAGS = [
    f'!!python/object/apply:os.system ["touch {CANARY}"]',
    f'!!python/object/new:os.system ["touch {CANARY}"]',
    f"!!python/object/apply:builtins.eval [\"open('{CANARY}', 'w')\"]",
    "!!python/name:os.system",
    "!!python/module:antigravity",
    f'!!python/object/apply:subprocess.Popen [["touch", "{CANARY}"]]',
]


def yaml_text(draw: random.Random) -> bytes:
    text = draw.choice(CONFIGS).read_text(encoding="utf-8")
    kind = draw.randrange(5)
    if kind == 0:
        places = [i for i, c in enumerate(text) if c == ":"]
        place = draw.choice(places) + 1
        return f"{text[:place]} {draw.choice(TAGS)}\n{text[place:]}".encode()
    if kind == 1:
        levels, width = draw.randint(5, 60), draw.randint(2, 12)
        form = draw.choice(["[{}]", "{{<<: [{}]}}", "{{k: [{}]}}"])
        lines = ["a0: &a0 {k: 1}"] + [
            f"a{i}: &a{i} " + form.format(", ".join([f"*a{i - 1}"] * width))
            for i in range(1, levels)
        ]
        return "\n".join([*lines, f"MODEL: *a{levels - 1}", text]).encode()
    if kind == 2:
        inner = draw.choice(["[", "{a: ", "- ", "? ", "!!python/tuple ["])
        return (text + "\nX: " + inner * draw.randint(10, 20_000)).encode()
    if kind == 3:
        base = draw.choice(
            ["/dev/zero", "/dev/stdin", ".", "case", "..", "[case, case]", "''", "5"]
        )
        return f"_BASE_: {base}\n{text.replace('_BASE_', 'NO_BASE')}".encode()
    return draw.choice(BYTES)(text.encode(), draw)


# -------------------------------------------------------------------------------------- reading


def load_weights(path: str) -> None:
    net = nn.Linear(3, 2)
    before = [p.shape for p in net.parameters()]
    Checkpointer(net).load(path, checkpointables=[])
    assert [p.shape for p in net.parameters()] == before


def load_proposals(path: str) -> None:
    add_proposals([{"image_id": i} for i in (1, 2, 3)], path)


DEFAULTS = build_cfg()


def load_config(path: str) -> None:
    merge_file(DEFAULTS.clone(), path)


KINDS: list[tuple[str, Callable[[random.Random], bytes], Callable[[str], None]]] = [
    ("case.pth", pth, load_weights),
    ("case.pth", old_pth, load_weights),
    ("case.pkl", pkl, load_weights),
    ("case.pkl", proposal_pkl, load_proposals),
    ("case.safetensors", safetensors, load_weights),
    ("case", yaml_text, load_config),
]
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.mkdir",
             "os.remove", "os.rename", "subprocess.Popen", "pty.spawn", "socket.connect",
             "ctypes.dlopen", "urllib.Request", "shutil.rmtree")  # fmt: skip


def attempt(seed: int, tried: list[str]) -> tuple[str, str]:
    """What reading one file came to, and why that is wrong ("" if it is not)."""
    draw = random.Random(seed)
    name, make, read = KINDS[seed % len(KINDS)]
    Path(name).write_bytes(make(draw))
    tried.clear()
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        read(name)
        outcome, wrong = "read", ""
    except UserError as error:
        outcome, text = "refused", str(error)
        wrong = "" if name in text and len(text) < 2000 else f"unclear: {text[:300]}"
    except TooLong:
        outcome, wrong = "hangs", "hangs"
    except Exception as error:
        outcome, wrong = "dies", f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if tried:
        return "runs", f"runs {tried}"
    Path(name).unlink()
    if any(Path().iterdir()):
        return "runs", f"left {[p.name for p in Path().iterdir()]}"
    return f"{read.__name__[5:]} {outcome}", wrong


def main(first: int, last: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    tried: list[str] = []
    sys.addaudithook(lambda event, _: tried.append(event) if event in FORBIDDEN else None)

    def too_long(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGVTALRM, too_long)
    counts: Counter[str] = Counter()
    findings = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed in range(first, last):
            print(seed, file=sys.stderr, flush=True)
            outcome, wrong = attempt(seed, tried)
            counts[outcome] += 1
            if wrong:
                findings[seed] = f"{KINDS[seed % len(KINDS)][1].__name__}: {wrong}"
        os.chdir("/")
    print(json.dumps({"counts": counts, "findings": findings}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
