"""Rerank Workbench: `python app.py` serves the page and the HTTP interface on one port.

The page is there within seconds. The model is loaded behind it, once the server is up.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from errors import InvalidInput, WorkbenchError
from settings import Settings

log = logging.getLogger("workbench")

# How it is served, in uvicorn's words and seconds. A connection that nobody uses is kept for longer than clients and
# load balancers (60 s) keep it: who asks again in the moment that the server closes it gets no answer. uvicorn's own 5
# are what httpx waits, too.
SERVING = {"log_level": "warning", "timeout_graceful_shutdown": 5, "timeout_keep_alive": 75}
# What gradio needs for people to sign in. A Space has it; requirements.txt does without.
TO_SIGN_IN = ("authlib", "itsdangerous")


def build_app(settings: Settings):  # noqa: ANN201 - FastAPI is imported only when the settings are right
    """The whole application, page and HTTP interface, ready to be served."""
    from page.quick_import import skip_type_stubs

    skip_type_stubs()
    import gradio as gr
    from fastapi import FastAPI

    from labeling.data_tab import SAMPLE
    from labeling.reading import MAX_IMPORT_BYTES
    from page.judging_calls import add_judging_calls
    from page.page import CSS, HEAD, THEME, build_page
    from server.api import build_api
    from services import Services

    services = Services.build(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.start()
        yield
        services.stop()

    api = build_api(services, lifespan=lifespan)
    add_judging_calls(api, services)
    page = build_page(services)
    return gr.mount_gradio_app(
        api,
        page,
        path="/",
        server_name=settings.host,
        server_port=settings.port,
        theme=THEME,
        css=CSS,
        head=HEAD,
        footer_links=[],
        allowed_paths=[str(SAMPLE)],
        max_file_size=MAX_IMPORT_BYTES,
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
    )


def check_installed(settings: Settings) -> None:
    """Raise InvalidInput where the settings ask for what is not installed here."""
    missing = [name for name in TO_SIGN_IN if importlib.util.find_spec(name) is None]
    if settings.sign_in and missing:
        raise InvalidInput(
            f"OAUTH_CLIENT_ID is set, so people sign in here, but {' and '.join(missing)} is missing. "
            'Install what signing in needs: pip install "gradio[oauth]"'
        )


def main() -> None:
    """Serve until stopped. A wrong setting ends the process with one line that says which and why."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = Settings.from_env()
        check_installed(settings)
    except WorkbenchError as error:
        sys.exit(f"Cannot start: {error}")
    log.info("Settings: %s", settings.describe())
    import uvicorn

    uvicorn.run(build_app(settings), host=settings.host, port=settings.port, **SERVING)


if __name__ == "__main__":
    main()
