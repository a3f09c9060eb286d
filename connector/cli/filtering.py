"""Options that several verbs share, declared once: `with_options`; and the filters of `changes` and `replay`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Annotated, Any

import typer

from connector.history.filters import Filters


def filtered(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of `make_filters` in place of its parameter `filters`."""
    return with_options(make_filters, "filters")(verb)


def with_options(make: Callable[..., Any], parameter: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the options of `make` in place of one of its parameters, which then is what `make` returns."""
    options = inspect.signature(make, eval_str=True).parameters

    def given_them(verb: Callable[..., None]) -> Callable[..., None]:
        parameters: list[inspect.Parameter] = []
        for name, own in inspect.signature(verb, eval_str=True).parameters.items():
            parameters += options.values() if name == parameter else [own]

        @wraps(verb)
        def verb_with_options(**given: Any) -> None:  # noqa: ANN401 - whatever typer read from the command line
            chosen = {name: given.pop(name) for name in options}
            verb(**{parameter: make(**chosen)}, **given)

        return declared(verb_with_options, parameters)

    return given_them


def declared(verb: Callable[..., None], parameters: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """A verb that takes these parameters. Typer reads the options from them, and passes every value by name."""
    by_name = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    verb.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined]
    verb.__annotations__ = {parameter.name: parameter.annotation for parameter in by_name}
    return verb


def make_filters(  # noqa: PLR0913 - an option for each filter
    *,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Seen since then: 2026-11-23, 2026-11-23T08:00, 24h, 7d.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Seen before then; a date includes its day.")] = "",
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name (with or without domain) or id; * and ? as wildcards. Repeatable."),
    ] = None,
    software: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="vendor/product or product; * and ? as wildcards. Repeatable."),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="ADDED, REMOVED, CHANGED or BASELINE. Repeatable."),
    ] = None,
    reasons: Annotated[
        list[str] | None, typer.Option("--reason", metavar="REASON", help="INSTALLED, UPGRADED, … Repeatable.")
    ] = None,
    end_of_support: Annotated[
        bool, typer.Option("--end-of-support", help="Only software that is out of support.")
    ] = False,
    snapshot: Annotated[list[str] | None, typer.Option(metavar="ID", help="Id of a snapshot. Repeatable.")] = None,
    inventory: Annotated[str, typer.Option(metavar="CPE|NON_CPE", help="Only one of the two exports.")] = "",
) -> Filters:
    """The filters in the user's words, as given on the command line."""
    return Filters(
        since,
        until,
        devices=tuple(device or ()),
        software=tuple(software or ()),
        types=tuple(types or ()),
        reasons=tuple(reasons or ()),
        end_of_support=end_of_support,
        snapshots=tuple(snapshot or ()),
        inventory=inventory,
    )
