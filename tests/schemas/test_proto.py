from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO = "schemas/proto/registry.proto"


@pytest.mark.parametrize("name", ["registry_pb2.py", "registry_pb2.pyi", "registry_pb2_grpc.py"])
def test_the_generated_code_is_that_of_the_proto(tmp_path: Path, name: str) -> None:
    outputs = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT}", *outputs, PROTO]
    subprocess.run(command, check=True, cwd=ROOT)
    made = (tmp_path / "schemas/proto" / name).read_text("utf-8")
    assert (ROOT / "schemas/proto" / name).read_text("utf-8") == made, "run: make proto"
