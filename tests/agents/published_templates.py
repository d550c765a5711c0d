"""Chat templates and special ids as their authors published them: recorded payloads.

Read in November 2026. `{bos}` is the model's own first token where its template asks for one.
"""

from __future__ import annotations

from dataclasses import dataclass

from jinja2.sandbox import ImmutableSandboxedEnvironment

from agents.prompts.templates import TemplateFamily

# As transformers sets it up for every chat template.
_JINJA = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)


@dataclass(frozen=True)
class Published:
    family: TemplateFamily
    source: str
    text: str
    bos: str = ""

    def __str__(self) -> str:
        return f"{self.family} ({self.source})"

    def rendered(self, messages: list[dict[str, str]]) -> str:
        template = _JINJA.from_string(self.text)
        return template.render(
            messages=messages, add_generation_prompt=True, bos_token=self.bos, eos_token="EOS"
        )


_OLD = (
    "{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' + "
    "message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% elif (message['role'] == "
    "'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}"
)
_ROLE_TAGS = (
    "{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + message['content'] + "
    "'<|end|>\n' }}{% endfor %}"
)
_PHI4_MINI = (
    "{% for message in messages %}{% if message['role'] == 'system' and 'tools' in message and "
    "message['tools'] is not none %}{{ '<|' + message['role'] + '|>' + message['content'] + "
    "'<|tool|>' + message['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}{{ '<|' + "
    "message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}{% if "
    "add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"
)

# llama.cpp: tests/test-chat-template.cpp at 03f94f1; hub: the repository's tokenizer_config.json.
PUBLISHED = (
    Published("phi3_old", "Phi-3-medium, in llama.cpp's tests", _OLD),
    Published("phi3_old", "Phi-3-mini of April 2024, same", "{{ bos_token }}" + _OLD, bos="<s>"),
    Published(
        "phi3_small",
        "microsoft/Phi-3-small-8k-instruct and -128k-instruct, hub",
        "{{ bos_token }}" + _ROLE_TAGS + "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
        "{% else %}{{ eos_token }}{% endif %}",
        bos="<|endoftext|>",
    ),
    Published(
        "phi3",
        "microsoft/Phi-3.5-mini-instruct, quoted by several repositories",
        "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
        "{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}"
        "{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' "
        "%}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if "
        "add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    ),
    Published(
        "phi3_vision",
        "Phi-3-vision, in llama.cpp's tests",
        _ROLE_TAGS + "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}"
        "{{- '<|assistant|>\n' -}}{% endif %}",
    ),
    Published(
        "phi4",
        "microsoft/phi-4 of December 2024, hub",
        "{% for message in messages %}{% if (message['role'] == 'system') %}"
        "{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif "
        "(message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' + message['content'] + "
        "'<|im_end|><|im_start|>assistant<|im_sep|>'}}{% elif (message['role'] == 'assistant') %}"
        "{{message['content'] + '<|im_end|>'}}{% endif %}{% endfor %}",
    ),
    Published(
        "phi4",
        "microsoft/phi-4 since January 2025, quoted by several repositories",
        "{% for message in messages %}{% if (message['role'] == 'system') %}"
        "{{'<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>'}}{% elif "
        "(message['role'] == 'user') %}{{'<|im_start|>user<|im_sep|>' + message['content'] + "
        "'<|im_end|>'}}{% elif (message['role'] == 'assistant') %}"
        "{{'<|im_start|>assistant<|im_sep|>' + message['content'] + '<|im_end|>'}}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}"
        "{% endif %}",
    ),
    Published("phi4_mini", "Phi-4-mini-instruct, in its ONNX and PyTorch builds, hub", _PHI4_MINI),
    Published("phi4_multimodal", "Phi-4-multimodal's chat_template.json, a copy", _PHI4_MINI),
    Published(
        "chatml",
        "OpenHermes-2.5-Mistral-7B, in llama.cpp's tests",
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
        "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
)

# The Phi-3 and Phi-3.5 tokenizer's added_tokens.json; the image token is the vision models'.
PHI3_IDS = {
    "<unk>": 0,
    "<s>": 1,
    "</s>": 2,
    "<|endoftext|>": 32000,
    "<|assistant|>": 32001,
    "<|placeholder1|>": 32002,
    "<|placeholder2|>": 32003,
    "<|placeholder3|>": 32004,
    "<|placeholder4|>": 32005,
    "<|system|>": 32006,
    "<|end|>": 32007,
    "<|placeholder5|>": 32008,
    "<|placeholder6|>": 32009,
    "<|user|>": 32010,
    "<|image|>": 32044,
}
# Phi-4 shares OpenAI's cl100k numbers; its generation_config.json ends on 100265.
PHI4_IDS = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|im_start|>": 100264,
    "<|im_end|>": 100265,
    "<|im_sep|>": 100266,
    "<|endofprompt|>": 100276,
}
