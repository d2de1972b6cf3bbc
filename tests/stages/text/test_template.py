from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.text import collapse, derive_template, fill, reproduces, template_id
from stages.text.template import MAX_FILLED, TooLong

CASES = [
    ("Explain photosynthesis.", "Explain photosynthesis."),
    ("Sum 3 and 4.5, please", "Sum {{number}}, please"),
    ("It costs $1,000.50 less -3%", "It costs ${{number}} less {{number}}"),
    ("Order AB-12345 by 10km", "Order AB-{{number}} by {{number}}km"),
    ("ref a8f3k2 and 0xDEADBEEF, deadbeef01", "ref {{id}} and {{hex}}"),
    ("id 550e8400-e29b-41d4-a716-446655440000.", "id {{uuid}}."),
    ("see https://x.org/a?b=1, now", "see {{url}}, now"),
    ("(at:http://x.org/1) www.x.org!", "(at:{{url}}) {{url}}!"),
    ("write to a.b+c@mail.example.org.", "write to {{email_address}}."),
    ("write to <EMAIL_ADDRESS>.", "write to {{email_address}}."),
    ("ask <PERSON> or <PERSON_2>", "ask {{person}}"),
    ("host 192.168.0.1:80 up", "host {{ip_address}} up"),
    ("on 2024-01-05T12:00:00Z at 12:30pm", "on {{date_time}} at {{date_time}}"),
    ("on January 5, 2024, then 3rd of May", "on {{date_time}}, then {{date_time}}"),
    ("I may 5 times, in May 5", "I may {{number}} times, in {{date_time}}"),
    ('Say "hello there" to him', "Say {{quoted}} to him"),
    ("Say “hello there” and «adieu»", "Say {{quoted}}"),
    ("don't use the dogs' 'red ball'", "don't use the dogs' {{quoted}}"),
    ('a 5" pipe and "open', 'a {{number}}" pipe and "open'),
    ("run `ls -l` or ```py\nx = 1\n```", "run {{code}}"),
    ('parse {"a": [1, {"b": 2}]} now', "parse {{json}} now"),
    ('parse {"a": [1, now', "parse {{{quoted}}: [{{number}}, now"),
    ("list [1, 2, 3]", "list [{{number}}]"),
    ("keep {{name}} and {{ x1 }}", "keep {{name}} and {{ x1 }}"),
    ("我在2023年买了3本书", "我在{{number}}年买了{{number}}本书"),
    ("سنة ٢٠٢٣", "سنة {{number}}"),
    ("key " + "aGVsbG8x" * 12, "key {{data}}"),
    ("a  b\n\tc 1", "a b c {{number}}"),
]


@pytest.mark.parametrize(("text", "template"), CASES)
def test_volatile_literals_are_masked(text: str, template: str) -> None:
    assert derive_template(text) == template


@pytest.mark.parametrize("text", [text for text, _ in CASES])
def test_a_template_is_its_own_template(text: str) -> None:
    template = derive_template(text)
    assert derive_template(template) == template


LITERALS = {
    "number": st.integers(0, 10**9).map(str),
    "uuid": st.uuids().map(str),
    "url": st.from_regex(r"https://[a-z]{1,9}\.org/[a-z0-9]{0,9}", fullmatch=True),
    "email_address": st.from_regex(r"[a-z]{1,9}[0-9]?@[a-z]{1,9}\.org", fullmatch=True),
    "date_time": st.dates().map(lambda date: f"{date:%Y-%m-%d}".rjust(10, "0")),
    "quoted": st.from_regex(r'"[a-z][a-z 0-9]{0,20}"', fullmatch=True),
    "code": st.from_regex(r"`[a-z][a-z 0-9=]{0,20}`", fullmatch=True),
    "json": st.dictionaries(st.text("ab", max_size=2), st.integers(), min_size=1).map(json.dumps),
}
WORDS = st.sampled_from(
    ["compare", "the", "order", "with", "für", "of,", "(see)", "please:", "你好"]
)
SHAPES = st.lists(st.tuples(WORDS, st.sampled_from(sorted(LITERALS))), min_size=1, max_size=6)


@given(SHAPES, st.data())
def test_texts_of_one_shape_share_one_template(
    shape: list[tuple[str, str]], data: st.DataObject
) -> None:
    def text() -> str:
        blank = data.draw(st.sampled_from([" ", "  ", "\n", "\t "]))
        return blank.join(f"{word} {data.draw(LITERALS[kind])}" for word, kind in shape)

    first, second = derive_template(text()), derive_template(text())
    assert first == second == " ".join(f"{word} {{{{{kind}}}}}" for word, kind in shape)
    assert template_id(first) == template_id(second)


@given(st.text(max_size=300))
def test_any_text_has_a_collapsed_template(text: str) -> None:
    template = derive_template(text)
    assert template == collapse(template)
    assert template == derive_template(f" {text}\n".replace(" ", "  "))


HOSTILE = [
    "1 ", "a1", '"', '" ', '"a ', "'a ", '{"', "[[{{", "{", "`", "``` ", "<A", "a@", "@", "/", "://",
    "a/", "https://", "1.", "1,", "1-", "f1", "{{a}} ", "{{a}}, ", "{{a}} {{b}} ", "May 1 ",
    "1 May ", "\u0660", "“", "=1", "(1", "0x", "www.", 'é"', "'a", "1a", "éa1_", "=@", "a=@", "<A_",
]  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("ends", [("", ""), ("a", "1"), ("<", "`")])
def test_hostile_repetition_takes_linear_time(unit: str, ends: tuple[str, str]) -> None:
    text = ends[0] + unit * (200_000 // len(unit)) + ends[1]
    template = derive_template(text)
    assert template == collapse(template)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("run", ["a.", "a-", "a:", "a_", "a+", "f", "-", ".", "a", "x/"])
@pytest.mark.parametrize("end", ["1", "@", "://1", "!"])
def test_hostile_runs_take_linear_time(run: str, end: str) -> None:
    assert derive_template(run * (500_000 // len(run)) + end)


def test_template_ids() -> None:
    assert template_id("Hello {{name}}") == template_id(" Hello\n{{name}} ")
    assert template_id("Hello {{name}}") != template_id("Hello {{other}}")
    prefix, _, digits = template_id("x").partition("_")
    assert prefix == "tpl"
    assert len(bytes.fromhex(digits)) == 16


@pytest.mark.parametrize(
    ("template", "parameters", "text"),
    [
        ("Hello {{name}}!", {"name": "Ann"}, "Hello Ann!"),
        ("Hello {{ name }} {{name}}", {"name": "Ann"}, "Hello Ann Ann"),
        ("{{a}}{{b}}", {"a": "{{b}}", "b": "x"}, "{{b}}x"),
        ("{{n}} {{f}} {{t}} {{x}}|", {"n": 3, "f": 0.5, "t": True, "x": None}, "3 0.5 true |"),
        ("{{list}}", {"list": ["é", {"k": 1}]}, '["é",{"k":1}]'),
        ("{{missing}} {{user.name}}", {"user.name": "Ann"}, "{{missing}} Ann"),
        ("no parameters", {"a": 1}, "no parameters"),
    ],
)
def test_fill(template: str, parameters: dict[str, object], text: str) -> None:
    assert fill(template, parameters) == text
    assert reproduces(template, parameters, f"  {text}\n")
    assert not reproduces(template, parameters, text + "x")


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text(), min_size=1))
def test_a_template_reproduces_what_was_made_from_it(parameters: dict[str, str]) -> None:
    template = ", ".join(f"{{{{{name}}}}}" for name in parameters)
    assert fill(template, parameters) == ", ".join(parameters.values())
    assert reproduces(template, parameters, ", ".join(parameters.values()))


def test_a_filled_template_has_a_bound() -> None:
    template, parameters = "{{a}}" * 100_000, {"a": "x" * 1_000_000}
    with pytest.raises(TooLong):
        fill(template, parameters)
    assert not reproduces(template, parameters, "x")
    assert len(fill("{{a}}" * 4, parameters)) == MAX_FILLED
