"""The study as a web application: a link for each annotator, their pages and images.

Only this module imports Starlette, and only `serve` imports this module.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from robustest.errors import StoreError
from robustest_people.studies.desk import Desk, Malformed, Outcome, Place, Unfinished, read_form
from robustest_people.studies.serve import STATIC, Address, App, Guard, Pages, static

_MOST = 65_536  # bytes of a form
_DRAINED = 8 * 2**20  # bytes that are read and dropped, so that whoever sends too much hears of it
_PATIENCE = 20  # seconds for a form to arrive
_NUMBER = re.compile(r"[0-9]{1,9}")
_KEPT = {"cache-control": "private, max-age=31536000, immutable"}
_FRESH = {"cache-control": "no-store"}

# An answer is stored once: a page sent twice, by a double click or a reload, must not change it.
_SAID = {
    Outcome.OTHER: "This page was sent before, with other answers. Those count; nothing was changed.",
    Outcome.GONE: "This page was given up, and others have it now. Nothing was stored.",
}


def make_app(desk: Desk, pages: Pages, images: Path, address: Address) -> App:
    """Return the web application of a study.

    Args:
        images: the folder of numbered images.
        address: the names that it answers to.
    """
    site = _Site(desk, pages, images)
    routes = [
        Route("/a/{link}/image/{number}", site.image),
        Route("/a/{link}", site.next),
        Route("/a/{link}/stop", site.stop, methods=["GET"]),
        Route("/a/{link}/stop", site.give_up, methods=["POST"]),
        Route("/a/{link}/{page}", site.hand_in, methods=["POST"]),
        Route("/static/{name}", site.static),
        Route("/", site.home),
    ]
    refusals: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        HTTPException: site.refuse,
        Malformed: site.refuse,
        ClientDisconnect: site.refuse,
        StoreError: site.unstored,
    }
    app = Starlette(routes=routes, exception_handlers=dict(refusals))
    app.router.redirect_slashes = False
    return Guard(app, address)


class _Site:
    def __init__(self, desk: Desk, pages: Pages, images: Path) -> None:
        self._desk, self._pages, self._images = desk, pages, images
        self._static = {name: static(name) for name in STATIC}

    async def home(self, request: Request) -> Response:
        return self._html(self._pages.problem("Open the link that you were given."))

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._static:
            raise Malformed(404, "There is no such page.")
        return Response(self._static[name], media_type=STATIC[name], headers={"cache-control": "private, max-age=600"})

    async def image(self, request: Request) -> Response:
        link, number = request.path_params["link"], request.path_params["number"]
        if not (_NUMBER.fullmatch(number) and self._desk.may_see(link, int(number))):
            raise Malformed(404, "There is no such image.")
        content = (self._images / f"{int(number)}.png").read_bytes()  # small, and mostly in memory: no thread pays off
        return Response(content, media_type="image/png", headers=_KEPT)

    async def next(self, request: Request) -> Response:
        return self._show(await self._place(request))

    def _show(
        self, place: Place, problem: str = "", given: Mapping[str, str] | None = None, page: int | None = None
    ) -> Response:
        number = place.page if page is None else page
        if number is None:
            return self._html(self._pages.done(place))
        # A page shown again for missing answers keeps its token, so that its time runs on.
        token = (given or {}).get("token") or self._desk.token(place, number)  # its time runs on where answers lack
        entries = self._desk.entries(place, number)
        text = self._pages.task(place, number, entries, token=token, problem=problem, given=given)
        return self._html(text, 422 if problem else 200)

    async def hand_in(self, request: Request) -> Response:
        place = await self._place(request)
        number = request.path_params["page"]
        if not _NUMBER.fullmatch(number):
            raise Malformed(404, "There is no such page.")
        page = int(number)
        fields = await _fields(request, most=len(self._desk.entries(place, page)) + 2)
        try:
            outcome = await self._desk.hand_in(place, page, dict(fields))
        except Unfinished as unfinished:
            return self._show(place, str(unfinished), fields, page)
        if outcome in _SAID:
            return self._html(self._pages.problem(_SAID[outcome], link=place.link), 409)
        return _redirect(place)

    async def stop(self, request: Request) -> Response:
        place = await self._place(request)
        if place.page is None:
            return self._show(place)
        return self._html(self._pages.stop(place, token=self._desk.token(place, "stop")))

    async def give_up(self, request: Request) -> Response:
        place = await self._place(request)
        await self._desk.give_up(place, await _fields(request, most=1))
        return _redirect(place)

    async def _place(self, request: Request) -> Place:
        place = await self._desk.find(request.path_params["link"])
        if place is None:
            raise Malformed(404, "Nobody has this link. Is it whole?")
        return place

    async def refuse(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            response = self._html(self._pages.problem("There is no such page."), error.status_code)
            response.headers.update(error.headers or {})
            return response
        if isinstance(error, Malformed):
            return self._html(self._pages.problem(str(error)), error.status)
        return self._html(self._pages.problem("The form did not arrive whole."), 400)

    async def unstored(self, request: Request, error: Exception) -> Response:
        # 503: a page that was not stored is not acknowledged.
        print(f"robustest: {error}", flush=True)  # noqa: T201 - the study's owner has to hear of it
        said = (
            "Your answers could not be stored. Go back and send them again; if that fails, tell who gave you the link."
        )
        return self._html(self._pages.problem(said), 503)

    def _html(self, text: str, status: int = 200) -> Response:
        return HTMLResponse(text, status_code=status, headers=_FRESH)


def _redirect(place: Place) -> Response:
    return RedirectResponse(f"/a/{place.link}", status_code=303, headers=_FRESH)


async def _fields(request: Request, *, most: int) -> dict[str, str]:
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(_PATIENCE):
            async for chunk in request.stream():
                size += len(chunk)
                # The rest of a form that is too large is read and dropped up to `_DRAINED`: a browser shows the answer
                # only once its request has been read.
                if size <= _MOST:
                    body += chunk
                elif size > _DRAINED:
                    break
    except TimeoutError:
        raise Malformed(408, "The form took too long to arrive.") from None
    if size > _MOST:
        raise Malformed(413, "The form is too large.")
    return read_form(bytes(body), request.headers.get("content-type", ""), most=most)
