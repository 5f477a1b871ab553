"""How fast a dataset is browsed: first page, index, row N, filter, sort, resident memory; and how late keys are
answered on the Data screen while it is indexed, filtered and sorted.

    python tests/benchmarks/data_browse.py                       # 5 M rows of jsonl (1 GB), parquet, a 400 MB array
    python tests/benchmarks/data_browse.py --rows 500000 --array-rows 30000 --keys
    python tests/benchmarks/data_browse.py --kinds jsonl,parquet --peers     # datasets, and duckdb, polars if installed

Every kind is measured in a process of its own; times are wall clock unless they say CPU, memory is that process's.
"""

import argparse
import asyncio
import functools
import importlib.util
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROW = 215
"""Bytes of a row, near enough: 5 M make a gigabyte."""


def make(folder: Path, kind: str, rows: int) -> Path:
    """A file of that kind; made once, since that takes longer than measuring."""
    path = folder / f"{rows}.{kind}"
    if path.exists():
        return path
    words = [f"word{n}" for n in range(2000)]
    pick = random.Random(1)
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        with pq.ParquetWriter(path.with_suffix(".part"), pa.schema([("prompt", "string"), ("completion", "string"),
                                                                    ("n", "int64")])) as writer:  # fmt: skip
            for start in range(0, rows, 100_000):
                many = range(start, min(start + 100_000, rows))
                writer.write_table(pa.Table.from_pylist([row(n, words, pick) for n in many]), row_group_size=20_000)
        path.with_suffix(".part").rename(path)
        return path
    array = kind == "json"
    with path.with_suffix(".part").open("w") as file:
        file.write("[\n" if array else "")
        for n in range(rows):
            line = json.dumps(row(n, words, pick) if not array else turns(n, words, pick))
            file.write(f"{line},\n" if array and n + 1 < rows else f"{line}\n")
        file.write("]\n" if array else "")
    path.with_suffix(".part").rename(path)
    return path


def row(n: int, words: list[str], pick: random.Random) -> dict[str, Any]:
    said = " ".join(pick.choices(words, k=19))
    return {"prompt": f"question {n}", "completion": said, "n": n}


def turns(n: int, words: list[str], pick: random.Random) -> dict[str, Any]:
    said = [" ".join(pick.choices(words, k=60)) for _ in range(2)]
    return {"messages": [{"role": "user", "content": said[0]}, {"role": "assistant", "content": said[1]}], "n": n}


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds on the clock, of CPU with children, and the result."""
    cpu, start = _cpu(), time.perf_counter()
    found = work()
    return time.perf_counter() - start, _cpu() - cpu, found


def _cpu() -> float:
    mine, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + children.ru_utime + children.ru_stime


def resident() -> float:
    """MB that are this process's own or in use of the file now."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1000


def measure(path: Path) -> dict[str, Any]:
    """All figures of one file; the index is built, not read from the cache."""
    from tuiwb import data
    from tuiwb.data.order import ordered
    from tuiwb.data.query import matching, parse

    def first_page() -> Any:
        view = data.open(path)
        return view, view.rows(0, 50)

    first, first_cpu, (view, _) = timed(first_page)
    index, index_cpu, _ = timed(view.index)
    total = len(view)
    pick = random.Random(2)
    single = [timed(lambda: view.row(pick.randrange(total)))[:2] for _ in range(300)]
    pages = [timed(lambda: view.rows(pick.randrange(total), 50))[0] * 1000 for _ in range(100)]
    browsing = resident()
    plain, plain_cpu, found = timed(lambda: matching(view, parse("question 77 & n>5", view.columns)))
    parsed, parsed_cpu, half = timed(lambda: matching(view, parse(f"n>{total // 2}", view.columns)))
    column = "completion" if "completion" in view.columns else "messages"
    common = {}
    texts = ["word77", "question", "word", f"{column}:word77", "/word7[78]/", "/word77|word88/", r"/\bword77\b/"]
    texts += [r"/[0-9]{4} /", "/^word1.*9$/", "/(?i)WORD7 /", rf"{column}:/\bword77\b/"]  # no words to look for first
    for text in texts:
        _, cpu, rows = timed(functools.partial(matching, view, parse(text, view.columns)))
        common[text] = [round(cpu, 2), len(rows)]
    filtered = resident()
    sort, sort_cpu, _ = timed(lambda: ordered(view, "n", descending=True))
    return {
        "rows": total,
        "bytes": path.stat().st_size,
        "first_page_ms": [round(first * 1000, 1), round(first_cpu * 1000, 1)],
        "index_s": round(index, 2),
        "index_cpu_s": round(index_cpu, 2),
        "row_ms": _spread([wall * 1000 for wall, _ in single]),
        "row_cpu_ms": _spread([cpu * 1000 for _, cpu in single]),
        "page_of_50_ms": _spread(pages),
        "filter_words_cpu_s": round(plain_cpu, 2),
        "filter_number_cpu_s": round(parsed_cpu, 2),
        "filter_common_cpu_s_rows": common,
        "filter_s": [round(plain, 2), round(parsed, 2)],
        "sort_s": [round(sort, 2), round(sort_cpu, 2)],
        "found": [len(found), len(half)],
        "resident_mb": [round(browsing), round(filtered)],
    }


def _spread(values: list[float]) -> list[float]:
    """The median, the 95th percentile, the largest."""
    several = (statistics.median(values), sorted(values)[int(len(values) * 0.95)], max(values))
    return [round(value, 3) for value in several]


WORD = "word77"
"""What peers look for, in any case, in the texts of a row; of `filter_common` it is the first."""


def _datasets(path: Path) -> tuple[Callable[[int, int], Any], Callable[[], int]]:
    import datasets

    datasets.disable_progress_bars()
    kind = "parquet" if path.suffix == ".parquet" else "json"
    loaded = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=os.environ["TUIWB_HOME"])

    def has(batch: dict[str, list[str]]) -> list[bool]:
        texts = zip(batch["prompt"], batch["completion"], strict=True)
        return [WORD in one.lower() or WORD in other.lower() for one, other in texts]

    return lambda start, count: loaded[start : start + count], lambda: len(loaded.filter(has, batched=True))


def _duckdb(path: Path) -> tuple[Callable[[int, int], Any], Callable[[], int]]:
    duckdb: Any = importlib.import_module("duckdb")
    reader = "read_parquet" if path.suffix == ".parquet" else "read_ndjson_auto"
    table, connection = f"{reader}('{path}')", duckdb.connect()
    where = f"where prompt ilike '%{WORD}%' or completion ilike '%{WORD}%'"
    return (
        lambda start, count: connection.sql(f"select * from {table} limit {count} offset {start}").fetchall(),
        lambda: int(connection.sql(f"select count(*) from {table} {where}").fetchall()[0][0]),
    )


def _polars(path: Path) -> tuple[Callable[[int, int], Any], Callable[[], int]]:
    pl: Any = importlib.import_module("polars")
    table = pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_ndjson(path)
    texts = [pl.col(name).str.to_lowercase().str.contains(WORD, literal=True) for name in ("prompt", "completion")]
    return (
        lambda start, count: table.slice(start, count).collect().rows(),
        lambda: int(table.filter(texts[0] | texts[1]).select(pl.len()).collect().item()),
    )


PEERS = {"datasets": _datasets, "duckdb": _duckdb, "polars": _polars}


def measure_peer(path: Path, name: str) -> dict[str, Any]:
    """The same of another program: to the first page, a row by number, and a filter by words."""
    pick, total = random.Random(2), int(path.stem)

    def first_page() -> Any:
        page, filtered = PEERS[name](path)
        page(0, 50)
        return page, filtered

    first, first_cpu, (page, filtered) = timed(first_page)
    single = [timed(lambda: page(pick.randrange(total), 1))[0] * 1000 for _ in range(5)]
    _, cpu, rows = timed(filtered)
    return {
        "first_page_ms": [round(first * 1000, 1), round(first_cpu * 1000, 1)],
        "row_ms": _spread(single),
        "filter_common_cpu_s_rows": {WORD: [round(cpu, 2), rows]},
        "resident_mb": round(resident()),
    }


WORK = {"filter words": "word77", "filter number": "n>2500000", "filter expression": "/word7[78]/"}
SORTS = {"sort numbers": "n", "sort texts": "completion"}


async def keys(path: Path) -> dict[str, Any]:
    """How long a key takes to be drawn, and how late the event loop is, while the file is indexed, filtered and sorted
    on the screen, and while nothing is done."""
    from textual.pilot import Pilot

    from tuiwb.tui.app import Workbench
    from tuiwb.tui.screens import data_find
    from tuiwb.tui.widgets.table import Table

    app = Workbench("data", None, None)
    found: dict[str, Any] = {}
    drawn: list[float] = []
    draw = app._display

    def drawing(*args: Any) -> None:
        draw(*args)
        drawn.append(time.perf_counter())

    app._display = drawing  # type: ignore[method-assign,assignment]
    async with app.run_test(size=(120, 40)) as pilot:
        assert isinstance(pilot, Pilot)
        while not (app.ready and app.current_room == "data"):
            await pilot.pause(0.05)
        room: Any = app.room
        room.open(str(path))
        while room.view is None:
            await asyncio.sleep(0.01)
        table = room.query_one("#table", Table)

        async def during(what: str, busy: Callable[[], bool]) -> None:
            """Press keys until the work is done."""
            answered: list[float] = []
            late: list[float] = []
            start = time.perf_counter()
            watching = asyncio.create_task(_lateness(late))
            while busy():
                was, pressed = table.cursor, time.perf_counter()
                app.simulate_key("down" if was < min(1000, table.row_count - 2) else "up")
                while table.cursor == was and time.perf_counter() - pressed < 5:
                    await asyncio.sleep(0)
                moved = time.perf_counter()
                while not (drawn and drawn[-1] > moved) and time.perf_counter() - pressed < 5:
                    await asyncio.sleep(0.001)
                answered.append((drawn[-1] - pressed) * 1000)
                await asyncio.sleep(0.05)
            watching.cancel()
            if answered:
                took = round(time.perf_counter() - start, 2)
                found[what] = {"s": took, "keys": len(answered), "ms": _spread(answered), "late_ms": _spread(late)}

        await during("index", lambda: not room.view.complete)
        for what, text in WORK.items():
            data_find.show_matching(room, text)
            await during(what, lambda: room.task_of("search") is not None)
            data_find.show_matching(room, "")
            await pilot.pause(0.3)
        for what, column in SORTS.items():
            data_find.show_sorted(room, column, descending=True)
            await during(what, lambda: room.task_of("search") is not None)
        until = time.perf_counter() + 5
        await during("nothing", lambda: time.perf_counter() < until)
        app.exit()
    return found


async def _lateness(late: list[float]) -> None:
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.005)
        late.append((time.perf_counter() - start - 0.005) * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of jsonl and parquet (5,000,000: 1 GB)")
    parser.add_argument("--array-rows", type=int, default=400_000, help="of the json array (400,000: 400 MB)")
    parser.add_argument("--kinds", default="jsonl,parquet,json", help="of jsonl, parquet, json")
    parser.add_argument("--keys", action="store_true", help="measure the screen too, while the jsonl file is read")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "tuiwb-browse", help="for files")
    parser.add_argument("--peers", action="store_true", help="measure the peers that are installed, too")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peer", choices=list(PEERS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        print(json.dumps(measure_peer(args.one, args.peer)))
        return
    if args.one:
        print(json.dumps(asyncio.run(keys(args.one)) if args.keys else measure(args.one)))
        return
    args.folder.mkdir(exist_ok=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {load}, Python {platform.python_version()}")
    for kind in args.kinds.split(","):
        path = make(args.folder, kind, args.array_rows if kind == "json" else args.rows)
        subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)  # into the page cache
        ways = {"": [], **({" screen": ["--keys"]} if args.keys and kind == "jsonl" else {})}
        if args.peers and kind != "json":
            ways |= {f" {name}": ["--peer", name] for name in PEERS if importlib.util.find_spec(name)}
        for what, options in ways.items():
            with tempfile.TemporaryDirectory() as home:
                found = subprocess.run(
                    [sys.executable, __file__, "--one", str(path), *options],
                    env={**os.environ, "TUIWB_HOME": home},
                    capture_output=True,
                    text=True,
                    check=False,
                )
            if found.returncode:
                print(found.stderr)
                raise SystemExit(1)
            print(f"{kind}{what}: {found.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main()
