"""What is sent to the page's events, checked in one place: whoever sends it may send anything, also without the page.

Gradio hands on whatever arrives, and shows the text of whatever error comes of it. Here each input is held against the
type that its handler says, every error becomes words, and events that change the same take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any, get_type_hints
from weakref import WeakKeyDictionary

import gradio as gr
from gradio.state_holder import SessionState
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from errors import InvalidInput, WorkbenchError
from page.notices import notice
from server.schemas import utf8

log = logging.getLogger(__name__)

OLDER = "If you pressed something on the page, load it anew: it may be older than the app."
Text = Annotated[str, AfterValidator(utf8)]
# How an event is connected that is for the page alone, and whose answer comes without a sign of waiting.
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


class Press(gr.EventData):
    """What a script of the page says with an event of its own. A subclass names its parts and their types."""

    parts: type[BaseModel]

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True).items()
        fields: dict[str, Any] = {name: (hint, getattr(cls, name, ...)) for name, hint in hints if name != "parts"}
        cls.parts = create_model(cls.__name__, **fields)

    def __init__(self, target: Any, _data: Any) -> None:
        """Gradio makes it of what has arrived. Raises InvalidInput."""
        super().__init__(target, _data)
        try:
            self.__dict__.update(dict(self.parts.model_validate(_data if isinstance(_data, dict) else {})))
        except ValidationError as error:
            raise InvalidInput(f"{_in_words(error)} {OLDER}") from error


class Page(gr.Blocks):
    """Blocks whose events answer in words, whatever is sent to them and whatever happens."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turns: WeakKeyDictionary[SessionState, dict[int, asyncio.Lock]] = WeakKeyDictionary()

    @contextlib.asynccontextmanager
    async def _in_turn(self, outputs: list[gr.blocks.Block], session: SessionState | None) -> AsyncIterator[None]:
        """Wait for the events of the same page that hand on one of these states.

        Gradio answers them side by side. The state could come of the one and what is shown of the other, and the next
        event would be about what nobody sees.
        """
        async with contextlib.AsyncExitStack() as stack:
            if session is not None:
                turns = self._turns.setdefault(session, {})
                for state in sorted({block._id for block in outputs if block.stateful}):
                    await stack.enter_async_context(turns.setdefault(state, asyncio.Lock()))
            yield

    async def process_api(
        self, block_fn: Any, inputs: list[Any], state: SessionState | None = None, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Answer an event, or go on to what it says next. Raises gr.Error and nothing else."""
        fn = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            async with self._in_turn(fn.outputs, state):
                return await super().process_api(fn, inputs, state, *args, **kwargs)
        except gr.Error as error:
            # In words already, and no crash to be logged. It may quote what no answer can carry.
            error.print_exception = False
            error.message = error.message.encode(errors="backslashreplace").decode()
            raise
        except WorkbenchError as error:
            raise notice(error) from error
        except Exception as error:
            log.error("An event of the page failed", exc_info=error)
            message = "Something went wrong here, not in what you did. The log says what."
            raise gr.Error(message, print_exception=False) from error

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """What the handler of an event is called with. Raises InvalidInput or gr.Error where it takes no such thing."""
        try:
            values = await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except (gr.Error, OSError):
            raise
        except Exception as error:
            raise InvalidInput(f"What was sent does not belong here. {OLDER}") from error
        blocks = block_fn.inputs
        # An empty text box may come as null.
        values = [
            "" if value is None and isinstance(block, gr.Textbox) else value
            for value, block in zip(values, blocks, strict=True)
        ]
        for (name, hint), value, block in zip(_taken(block_fn.fn), values, blocks, strict=False):
            if not block.stateful:  # that, the page keeps by itself
                _check(name, hint, value)
        return values


def _taken(handler: Any) -> list[tuple[str, Any]]:
    """The name and the type of each input that a handler takes; what gradio fills in by itself is left out."""
    if not inspect.isfunction(handler) and not inspect.ismethod(handler):
        return []
    hints = get_type_hints(handler)
    return [
        (parameter.name, hints.get(parameter.name, Any))
        for parameter in inspect.signature(handler).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and not _is_filled_in(hints.get(parameter.name), parameter.default)
    ]


def _is_filled_in(hint: Any, default: Any) -> bool:
    is_given = inspect.isclass(hint) and issubclass(hint, gr.Request | gr.EventData)
    return is_given or hint == gr.OAuthProfile | None or isinstance(default, gr.Progress)


def _check(name: str, hint: Any, value: Any) -> None:
    # JSON has one kind of number: 3.0 is a whole one, too.
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        _adapter(hint).validate_python(number)
    except ValidationError as error:
        raise InvalidInput(_in_words(error, name)) from error


@functools.cache
def _adapter(hint: Any) -> TypeAdapter:
    return TypeAdapter(Annotated[hint, AfterValidator(_text)], config=ConfigDict(strict=True))


def _text(value: Any) -> Any:
    return utf8(value) if isinstance(value, str) else value


def _in_words(error: ValidationError, *name: str) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, (*name, *problem['loc'])))}: {problem['msg']}."
