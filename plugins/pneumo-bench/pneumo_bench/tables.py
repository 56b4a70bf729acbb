"""The tables and sentences of a result, in lines of at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pneumo_bench.result import BenchResult
from pneumo_bench.rounds import spread
from pneumo_cli.training.estimate import rough_size

_WORK = {
    "bare": "bare loop",
    "step": "training step",
    "epoch": "epoch",
    "loader": "loader alone",
    "evaluation": "evaluation",
    "forward": "prediction, decoded",
}
_SHORT = ("bare", "step", "epoch", "forward")  # of a trainer among others
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def parts(result: BenchResult) -> Iterator[str | Table]:
    """What is printed, in order: sentences, and tables as heads and rows."""
    content, machine = result.content, result.content["machine"]
    commit = f" ({content['commit'][:7]})" if content["commit"] else ""
    threads = "" if machine["device"] == "cpu" else f", CPU threads: {machine['threads']}"  # else in its name
    yield f"{machine['device_name']}{threads}; {machine['cores']} usable cores"
    yield (
        f"pneumo {machine['pneumo']}{commit}, torch {machine['torch']}, Python {machine['python']}, "
        f"{content['date'][:10]}"
    )
    if (load := load_sentence(content["load"])) is not None:
        yield load
    rows = content["trainers"]
    if "copy" in content:
        yield ["machine", "", "spread"], list(_machine_rows(content))
        if rows:
            yield (
                ["trainer", "size, batch", "bare", "step", "epoch", "predict", "of bare", "of product"],
                [_short(row) for row in rows if not row["problem"]],
            )
            yield (
                "Images per second in training: of a bare loop, of the runner's steps, of an epoch; and in "
                "prediction, decoded. Of bare, of product: the epoch's share of the bare loop and of the matrix "
                "product."
            )
    else:
        for row in rows:
            yield from _whole(row, content["start"])
    for row in rows:
        if row.get("problem"):
            yield f"{row['trainer']} was not measured: {row['problem']}"
    if "against" in content:
        values = content["against"]["values"]
        yield from content["against"]["differs"]
        yield (
            [f"against {content['against']['date'][:10]}", "before", "now", "ratio"],
            [
                [name, number(one["before"]), number(one["now"]), f"{one['ratio']:.2f}"]
                for name, one in values.items()
            ],
        )


def load_sentence(load: Mapping[str, Any]) -> str | None:
    """Whether the machine was busy; None: nothing of interest is known."""
    if load["others"] is None:
        return None
    if load["busy"]:
        return (
            f"Busy: others used {load['others']:.1f} of {load['cores']} cores meanwhile. These figures are too "
            "low; ratios suffer less."
        )
    return f"Others used {load['others']:.1f} of {load['cores']} cores meanwhile."


def _machine_rows(content: Mapping[str, Any]) -> Iterator[list[str]]:
    yield from _product_rows(content["product"])
    yield ["copy of memory", f"{number(content['copy']['median'])} GB/s", spread(content["copy"], number)]
    decoding = content["decoding"]
    yield ["decoding", f"{number(decoding['median'])} images/s", spread(decoding, number)]
    yield ["", decoding["images"], ""]
    yield from ([name, seconds, ""] for name, seconds in _start_rows(content["start"]))


def _product_rows(products: Mapping[str, Any]) -> Iterator[list[str]]:
    for precision, rate in products.items():
        yield [
            f"matrix product, {precision}",
            f"{number(rate['median'])} GFLOP/s",
            spread(rate, number),
        ]


def _start_rows(start: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, title in (("version", "pneumo --version"), ("torch", "import torch")):
        yield f"start: {title}", "failed" if start[name] is None else f"{start[name]:.2f} s"
    if start.get("first_step"):
        yield "start to the first step", f"{start['first_step']:.1f} s"


def _short(row: Mapping[str, Any]) -> list[str]:
    """A trainer among others."""
    rates, ratios = row["images_per_second"], row["ratios"]
    share = row["share_of_product"].get("epoch")
    return [
        row["trainer"],
        f"{row['image_size']} px, {row['batch_size']}",
        *(number(rates[name]["median"]) if name in rates else "–" for name in _SHORT),
        f"{ratios['epoch/bare']['median']:.2f}" if "epoch/bare" in ratios else "–",
        percent(share["median"]) if share else "–",
    ]


def _whole(row: Mapping[str, Any], start: Mapping[str, Any]) -> Iterator[str | Table]:
    """Everything about one trainer."""
    preset = f", preset {row['preset']}" if row["preset"] else ""
    yield (
        f"{row['trainer']}{preset}: {row['model']} ({row['parameters']:,} parameters), {row['dataset']}, "
        f"{row['image_size']} px, batches of {row['batch_size']}, {row['precision']}"
    )
    rates, ratios, shares = row["images_per_second"], row["ratios"], row["share_of_product"]
    yield (
        ["images per second", "", "spread", "of bare", "of product"],
        [
            [
                title,
                number(rates[name]["median"]),
                spread(rates[name], number),
                f"{ratios[f'{name}/bare']['median']:.2f}" if f"{name}/bare" in ratios else "",
                percent(shares[name]["median"]) if name in shares else "",
            ]
            for name, title in _WORK.items()
            if name in rates
        ],
    )
    if row["bare_loop"]:
        yield f"The bare loop is {row['bare_loop']}, on one resident batch."
    for name, reason in row["not_measured"].items():
        yield f"{_WORK[name]}: not measured ({reason})"
    once = [["decoding, files into an empty cache", f"{number(row['decoding'])} images/s"]]
    if row["features"]:
        once.append(["features, computed once", f"{number(row['features'])} images/s"])
    saved = row["checkpoint"]
    once.append(["saving a checkpoint", f"{saved['seconds']:.3f} s, {rough_size(saved['bytes'])}"])
    once += [list(one) for one in _start_rows(start)]
    if row["memory"]:
        added, before = (rough_size(row["memory"][name]) for name in ("added", "before"))
        once.append(["memory, added up to the first step", f"{added} ({before} before)"])
    if row["gflop_per_image"]:
        once.append(["training of an image", f"{row['gflop_per_image']:.3g} GFLOP"])
    once += [[name, f"{value} ({low_high})"] for name, value, low_high in _product_rows(row["product"])]
    yield ["beside it", ""], once


def number(value: float) -> str:
    """Three digits: ``0.0123``, ``1.23``, ``123``, ``12,300``.

    >>> [number(one) for one in (0.01234, 1.234, 123.4, 12345.6)]
    ['0.0123', '1.23', '123', '12,300']
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.3g}"


def percent(share: float) -> str:
    """Two digits.

    >>> [percent(one) for one in (0.00034, 0.0729, 0.791, 1.04)]
    ['0.034 %', '7.3 %', '79 %', '104 %']
    """
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def text(result: BenchResult) -> str:
    """All of it as one text."""
    from pneumo_cli.workflows.tables import text_table

    lines: list[str] = []
    for part in parts(result):
        if isinstance(part, str):
            lines.append(part)
        else:
            heads, rows = part
            lines += [
                "",
                *text_table([head.upper() for head in heads], [list(row) for row in rows], width=0),
                "",
            ]
    return "\n".join(lines).strip()
