"""Language models behind the chat interface of OpenAI, which many servers have (vLLM, llama.cpp, Ollama, gateways)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from robustest import ConfigError, ModelError
from robustest.errors import expected
from robustest_http.answers import check_names
from robustest_http.endpoint import Access
from robustest_http.plain import json_function

# Settings that limit the length of an answer, so that one that is cut is what was asked for.
_LIMITS = ("max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class _Messages:
    """The body of a request about an item."""

    model: str
    system: str | None
    settings: tuple[tuple[str, Any], ...]

    def __call__(self, item: Any) -> object:
        prompt = item.get("prompt") if isinstance(item, Mapping) else item
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if not isinstance(messages, list) or not messages or not all(_is_message(one) for one in messages):
            raise ConfigError(
                expected(
                    "an item to be a text, a list of messages such as {'role': 'user', 'content': 'Hello'}, or an "
                    "object with one of them as its prompt",
                    item,
                )
            )
        first = [] if self.system is None else [{"role": "system", "content": self.system}]
        return {**dict(self.settings), "model": self.model, "messages": [*first, *messages]}


@dataclass(frozen=True, slots=True)
class _Text:
    """The text of a reply."""

    may_be_cut: bool
    usage: bool

    def __call__(self, reply: Any) -> object:
        choices = reply.get("choices") if isinstance(reply, dict) else None
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise ModelError(f"a field 'choices' with one answer but got {reply!r:.200}")
        reason = choices[0].get("finish_reason")
        if reason == "length" and not self.may_be_cut:
            raise ModelError(
                "choices[0].finish_reason 'stop' but got 'length': the answer was cut. Give max_tokens in settings= if "
                "that is meant"
            )
        if reason not in ("stop", "length", None):
            raise ModelError(f"choices[0].finish_reason 'stop' but got {reason!r}")
        message = choices[0].get("message")
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str):
            raise ModelError(f"choices[0].message.content to be a text but got {message!r:.200}")
        if not self.usage:
            return text
        usage = reply.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        if type(tokens) is not int or tokens < 0:
            raise ModelError(f"usage.total_tokens to be a whole number >= 0 but got {usage!r:.200}")
        return {"text": text, "tokens": tokens}


def chat_function(
    url: str,
    model: str,
    *,
    system: str | None = None,
    settings: Mapping[str, Any] | None = None,
    usage: bool = False,
    timeout: float = 60.0,
    rate: float | None = None,
    **access: Unpack[Access],
) -> Callable[[Any], object]:
    """Return a function that asks a language model about one item, for `assert_rate` and its relatives.

    An item is a text, a list of messages, or an object whose "prompt" is one of them. A reply without a whole answer
    (cut, filtered, a call of a tool, an error with status 200) is a failure that names the field. Retries and limits
    are those of `json_function`.

    Args:
        url: the interface, such as https://api.openai.com/v1; /chat/completions is added.
        model: the model's name there.
        system: a message that comes before those of each item.
        settings: further fields of each request, such as {"temperature": 0, "max_tokens": 5}; {"temperature": 0} by
            default.
        usage: True for answers {"text": ..., "tokens": ...}, so that `Calls(tokens=)` and `Calls(cost=)` can count.
        timeout: seconds of a request.
        rate: largest number of requests per second, over all threads; or None.
        **access: how the server is reached: see `Access`.

    Raises:
        ConfigError: an argument is invalid. Nothing is sent yet.
    """
    check_names(model=model, system=system)
    given = {"temperature": 0} if settings is None else settings
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigError(expected("settings to map names of fields to values", settings))
    for name in ("model", "messages", "stream", "n"):
        if name in given:
            raise ConfigError(f"Expected settings without {name!r}, which chat_function sets or cannot read.")
    if not isinstance(url, str):
        raise ConfigError(expected("an address that begins with http:// or https://", url))
    return json_function(
        f"{url.rstrip('/')}/chat/completions",
        encode=_Messages(model, system, tuple(sorted(given.items()))),
        decode=_Text(any(given.get(name) is not None for name in _LIMITS), usage),
        timeout=timeout,
        rate=rate,
        **access,
    )


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and "content" in value
